"""A limit on work that keeps all of Python waiting, as MPI_Init does."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

SECONDS_FOR_STACKS = 3  # in which a process may end by itself
WATCH = f"""
import os, select, signal, sys
if not select.select([sys.stdin], [], [], float(sys.argv[1]))[0]:
    print("shardtune: " + sys.argv[2], file=sys.stderr, flush=True)
    if not select.select([sys.stdin], [], [], {SECONDS_FOR_STACKS})[0]:
        os.kill(os.getppid(), signal.SIGKILL)
"""


@contextlib.contextmanager
def time_limit(seconds: float, sentence: str) -> Iterator[None]:
    """End this process with a sentence if the work takes longer."""
    # A process, because no thread and no signal handler of Python may run meanwhile; it ends with its stdin.
    watch = subprocess.Popen([sys.executable, "-I", "-S", "-c", WATCH, str(seconds), sentence], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        watch.communicate()
