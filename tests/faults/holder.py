"""Holds a directory until a line comes, then writes a file there: `python -m tests.faults.holder DIRECTORY BEAT STALE`."""

import sys
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime import lease
from shardtune.runtime.files import write_json
from shardtune.runtime.locking import hold
from shardtune.runtime.world import World


def main(directory: str, beat: str, stale: str) -> None:
    lease.BEAT_EVERY, lease.STALE = float(beat), float(stale)
    try:
        with hold(Path(directory), World()):
            print("held", flush=True)
            sys.stdin.readline()
            write_json(Path(directory) / "written.json", "whole")
            print("written", flush=True)
    except WorldError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
