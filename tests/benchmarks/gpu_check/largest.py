"""The largest batch of a precision, by doubling: a part of launch/gpu_check.sh.

Each size is a process of its own, because what a smaller one leaves behind in TensorFlow's allocator takes room.
"""

import argparse
import json
import subprocess
import sys

from tests.benchmarks.gpu_check.rates import OUT_OF_MEMORY
from tests.benchmarks.gpu_check.runner import last_json

SIZES = [256 << power for power in range(8)]
SMALL_SIZES = [4, 8]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    command = [sys.executable, "-m", "tests.benchmarks.gpu_check.rates", "--precision", options.precision]
    largest = None
    for size in SMALL_SIZES if options.small else SIZES:
        words = [*command, "--batch_sizes", str(size), *(["--small"] if options.small else [])]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
        rate = ((last_json(done.stdout) or {}).get("batch_sizes") or {}).get(str(size), {"error": f"status {done.returncode}"})
        if "error" in rate:
            sys.stdout.write(json.dumps({"largest": largest, "too_large": size, "error": rate["error"]}) + "\n")
            return int(rate["error"] != OUT_OF_MEMORY)
        largest = size
        sys.stdout.write(json.dumps({"largest": largest, **rate}) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
