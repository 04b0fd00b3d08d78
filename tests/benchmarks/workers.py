"""Two workers beside one process that has both cores, and what `--deterministic` costs: `python -m tests.benchmarks.workers`.

Each kind is a job of `tests.benchmarks.trainer` with a global batch of 16; jobs take turns, so that what disturbs the machine
disturbs all alike. Figures are medians over rounds, ratios those of the same round.

usage: python -m tests.benchmarks.workers [--rounds 3] [--image-size 299]
"""

import argparse
import re
import statistics
import sys

from tests.launching import launch

GLOBAL_BATCH = 16
JOBS = {  # of a name: launcher, workers, options
    "one process": ("alone", 1, []),
    "one process, deterministic": ("alone", 1, ["--deterministic"]),
    "two over MPI": ("mpirun", 2, []),
    "two over MPI, deterministic": ("mpirun", 2, ["--deterministic"]),
    "two over Gloo": ("horovodrun --gloo", 2, []),
}


def rates(image_size: int, launcher: str, workers: int, options: list[str]) -> dict[str, float]:
    """Images per second of all workers, by kind of step."""
    sizes = ["--batch-size", str(GLOBAL_BATCH // workers), "--image-size", str(image_size)]
    arguments = ["-m", "tests.benchmarks.trainer", *sizes, *options]
    output = launch(arguments, launcher=launcher, ranks=workers, timeout=900)
    return {kind: float(rate) for kind, rate in re.findall(r"(bare|shardtune) .* ([\d.]+) images/s", output)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=299)
    options = parser.parse_args()
    rounds = [{name: rates(options.image_size, *job) for name, job in JOBS.items()} for _ in range(options.rounds)]
    for name in JOBS:
        rate = statistics.median(measured[name]["shardtune"] for measured in rounds)
        beside_one = statistics.median(
            measured[name]["shardtune"] / measured["one process"]["shardtune"] for measured in rounds
        )
        beside_bare = statistics.median(measured[name]["shardtune"] / measured[name]["bare"] for measured in rounds)
        text = f"{rate:5.2f} images/s, {beside_one:.2f} × one process, {beside_bare:.2f} × the bare loop in the same job"
        sys.stdout.write(f"{name:28} {text}\n")


if __name__ == "__main__":
    main()
