"""Runs that launch/train.sh supervises, to be disturbed."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.distributed.training import BODY, command, lines


def train_sh(scripts: Path, data: Path, run: Path, *flags: object, options: tuple[object, ...] = ()) -> list[str]:
    """The command line for the run that `tests.distributed.training.train` does on two workers."""
    given = command(data, run, *flags, ranks=2)
    return [str(scripts / "launch" / "train.sh"), *map(str, options), *given[3:]]


@contextmanager
def killed_in_the_end(job: subprocess.Popen[str], run: Path) -> Iterator[subprocess.Popen[str]]:
    """Leave nothing of a script that has not ended, nor of the ranks that it started."""
    try:
        yield job
    finally:
        ended = job.poll() is not None
        if not ended:
            os.killpg(job.pid, signal.SIGKILL)
        for process in ranks(run):
            with suppress(psutil.Error):
                process.kill()
        if not ended:
            job.communicate()  # until the launcher, which is in a session of its own, has ended too


def ranks(run: Path) -> list[psutil.Process]:
    """The processes that train into a directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if {*BODY, str(run)} <= set(process.cmdline()):
                found.append(process)
    return found


def wait_for_steps(job: subprocess.Popen[str], run: Path, count: int) -> None:
    while lines(run) < count:
        if job.poll() is not None:
            raise AssertionError(f"it ended before step {count}: {job.communicate()[0]}")
        time.sleep(0.02)
