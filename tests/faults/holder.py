"""Holds a directory until a line comes, then writes a file there: `python -m tests.faults.holder DIRECTORY HEARTBEAT STALE`."""

import sys
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime import lease
from shardtune.runtime.files import write_json
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.world import World


def main(directory: str, beat: str, stale: str) -> None:
    lease.HEARTBEAT_SECONDS, lease.STALE_SECONDS = float(beat), float(stale)
    try:
        with exclusive_directory(Path(directory), World()):
            print("held", flush=True)
            sys.stdin.readline()
            write_json(Path(directory) / "written.json", "whole")
            print("written", flush=True)
    except WorldError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
