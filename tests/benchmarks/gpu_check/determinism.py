"""Whether `--deterministic` keeps its word: a part of launch/gpu_check.sh.

Three runs with the same flags at the same time: two are left alone, and one is killed after its first checkpoint and started
again. All three must end with the same bits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shardtune.model import checkpoint_file
from tests.benchmarks.gpu_check import SIDE, SMALL_SIDE
from tests.distributed.training import INCEPTION, command, digest
from tests.pictures import plant

POLL_SECONDS = 0.01
FLAGS = ("--deterministic", "--image_size", SIDE, "--batch_size", 16, "--max_steps", 100, "--save_every", 25)
SMALL_FLAGS = ("--deterministic", "--image_size", SMALL_SIDE, "--batch_size", 4, "--max_steps", 12, "--save_every", 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    flags = SMALL_FLAGS if parser.parse_args().small else FLAGS
    folder = Path(tempfile.mkdtemp())
    data = folder / "data"
    photographs = plant(folder / "photographs", per_class=20)
    shards = ("--train_shards", "2", "--output_directory", data)
    build = [sys.executable, "-m", "shardtune", "build", "--train_directory", photographs, *shards]
    subprocess.run(build, check=True, stdout=sys.stderr)
    runs = [folder / name for name in ("first", "second", "killed")]
    jobs = [start(data, run, *flags) for run in runs]
    killed_after = kill_after_checkpoint(jobs[2], runs[2])
    jobs[2] = start(data, runs[2], *flags)
    statuses = [job.wait() for job in jobs]
    if any(statuses):
        sys.stderr.write(f"The statuses of the runs are {statuses}.\n")
        return 1
    first, second, resumed = (digest(run) for run in runs)
    result: dict[str, Any] = {"sha256": [first, second, resumed], "killed_after_step": killed_after}
    result |= {"two_runs_are_equal": first == second, "resumed_run_is_equal": first == resumed}
    sys.stdout.write(json.dumps(result) + "\n")
    if first == second == resumed:
        return 0
    sys.stderr.write("The runs ended with different bits.\n")
    return 1


def start(data: Path, run: Path, *flags: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(data, run, *flags, body=INCEPTION), stdout=sys.stderr)


def kill_after_checkpoint(job: subprocess.Popen[bytes], run: Path) -> int:
    """Kill a run that has a checkpoint and has not finished; returns the step of the checkpoint."""
    while not (newest := checkpoint_file.latest(run)):
        if job.poll() is not None:
            raise SystemExit(f"The run to be killed ended before its first checkpoint, with status {job.returncode}.")
        time.sleep(POLL_SECONDS)
    job.kill()
    if job.wait() == 0:
        raise SystemExit("The run to be killed had finished.")
    return newest[0]


if __name__ == "__main__":
    sys.exit(main())
