"""Several short runs in one job: `python -m tests.distributed.resume_body begin|resume DATA DIRECTORY CASE …`.

A case is GLOBAL_BATCH,BATCH_SIZE,KIND, and the name of the run's folder. One worker that holds the whole batch begins all.
"""

import os
import sys
from pathlib import Path

from shardtune.runtime.world import World
from shardtune.train.command import train
from shardtune.train.config import TrainConfig
from tests.distributed.train_body import build

STEPS = 6


def main(begins: bool, data: Path, directory: Path, cases: list[str]) -> None:
    world = World.from_environment("horovod", os.environ)
    for case in cases:
        global_batch, batch_size, kind = case.split(",")
        config = TrainConfig(
            data,
            directory / case,
            image_size=75,
            batch_size=int(global_batch if begins else batch_size),
            max_steps=STEPS,
            initial_learning_rate=0.05,
            lr_scaling="none",
            batch_norm="synced",
            freeze_until="norm" if kind == "frozen" else None,
            validate_epochs=0,
            log_every=1,
            save_every=1,
            keep_checkpoints=STEPS,
            hang_timeout=60,
        )
        train(config, world, build)
    world.barrier()


if __name__ == "__main__":
    main(sys.argv[1] == "begin", Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
