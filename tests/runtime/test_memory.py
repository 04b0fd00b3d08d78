import os
import subprocess
import sys

from tests.launching import ENVIRONMENT

CODE = """
import re
from pathlib import Path
from shardtune.runtime.memory import return_freed_memory

def megabytes():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

blocks = [b"x" * 4_000_000 for _ in range(100)]
last = blocks.pop()  # the end of the heap, so that all below it cannot simply be cut off
blocks.clear()
held = megabytes()
return_freed_memory()
print(held > 390, megabytes() < 100)
"""


def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    # The threshold to which glibc itself raises it where such blocks are freed.
    environment = {**os.environ, **ENVIRONMENT, "MALLOC_MMAP_THRESHOLD_": "33554432"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
