"""A process that a guard watches."""

import subprocess
import sys
from pathlib import Path

from tests.launching import ENVIRONMENT

START = """
import ctypes, sys, threading, time
from pathlib import Path
from shardtune.runtime.guard import Guard
guard = Guard()
guard.report_to(Path(sys.argv[1]), lambda sentence, ranks: print(sentence, flush=True))
guard.start()
def blocked():  # in C code, which no signal interrupts
    library, mutex = ctypes.{loader}(None), ctypes.create_string_buffer(64)
    while True:
        library.pthread_mutex_lock(mutex)
"""
FREE, LOCKED = "CDLL", "PyDLL"  # without and with Python's lock


def start(tmp_path: Path, code: str, loader: str = FREE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START.format(loader=loader) + code, str(tmp_path / "log")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
