"""A time limit on a call that blocks all threads of Python, as MPI_Init does."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

EXIT_SECONDS = 3  # in which the process can end by itself, with stacks, before it is killed
TIMEOUT_CODE = f"""
import os, select, signal, sys
if not select.select([sys.stdin], [], [], float(sys.argv[1]))[0]:
    print("shardtune: " + sys.argv[2], file=sys.stderr, flush=True)
    if not select.select([sys.stdin], [], [], {EXIT_SECONDS})[0]:
        os.kill(os.getppid(), signal.SIGKILL)
"""


@contextlib.contextmanager
def time_limit(seconds: float, sentence: str) -> Iterator[None]:
    """Print a sentence and kill this process if the block takes longer than `seconds`."""
    # Another process, because no thread and no signal handler of this one may run meanwhile. It exits when its stdin closes.
    timer = subprocess.Popen([sys.executable, "-I", "-S", "-c", TIMEOUT_CODE, str(seconds), sentence], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        timer.communicate()
