"""How long a job of two workers lasts after a fault, and what it loses: `python -m tests.benchmarks.faults IMAGES`.

IMAGES has one folder a class. The network is the tests' small one, `--hang_timeout` 10 s, a checkpoint every 200 steps.
"""

import signal
import sys
import tempfile
import time
from pathlib import Path

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.model import checkpoint_file
from shardtune.runtime.world import World
from tests.distributed.training import Disturbed, lines

HANG_TIMEOUT = 10
FLAGS = ("--max_steps", 100_000, "--learning_rate_decay", "constant", "--save_every", 200, "--hang_timeout", HANG_TIMEOUT)
FAULTS = {"asked to stop": signal.SIGUSR1, "killed": signal.SIGKILL, "silent": signal.SIGSTOP}


def main(images: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        build(BuildConfig(images, output_directory=data, train_shards=8, check="header"), World())
        for over in ("mpi", "gloo"):
            for fault, number in FAULTS.items():
                run = Path(temporary) / f"{over}-{fault}"
                with Disturbed(data, run, *FLAGS, over=over) as job:
                    job.wait_for_steps(300)
                    job.rank(1).send_signal(number)
                    began = time.monotonic()
                    status, _ = job.end(timeout=120)
                took = time.monotonic() - began
                newest = checkpoint_file.latest(run)
                lost = lines(run) - (newest[0] if newest else 0)
                sys.stdout.write(f"{over:4} rank 1 {fault:13} ended after {took:4.1f} s, status {status}, {lost} steps lost\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
