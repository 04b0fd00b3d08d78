"""Holds a directory again and again, as soon as it is free: `python -m tests.faults.contender DIRECTORY LOG TIMES`.

Each time it adds a line "in" to the log and a line "out"; with other holders, these alternate. The last time it leaves the
lease as a killed process would.
"""

import os
import sys
import time
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime import lease
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.world import World


def main(directory: str, log: str, times: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in range(int(times)):
        while True:
            try:
                with exclusive_directory(Path(directory), World()):
                    os.write(file, b"in\n")
                    time.sleep(0.005)
                    os.write(file, b"out\n")
                    if number == int(times) - 1:
                        os._exit(0)
                break
            except WorldError:
                time.sleep(0.005)


if __name__ == "__main__":
    lease.POLL_SECONDS = 0.01
    main(*sys.argv[1:])
