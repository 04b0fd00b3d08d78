"""`shardtune train` with a small network in place of Inception v3: `python -m tests.distributed.train_body flag…`."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import tyro

from shardtune import cli
from shardtune.dataset.manifest import Manifest
from shardtune.trainconfig import TrainConfig
from shardtune.world import Backend, World


def build(manifest: Manifest, config: TrainConfig, world: World) -> Any:
    """The network, with an auxiliary head."""
    from tests.train.networks import small

    options = {"kind": config.batch_norm, "decay": config.batch_norm_decay, "world": world, "frozen": bool(config.freeze_until)}
    return small(manifest.num_classes, config.image_size, auxiliary=True, **options)


def stage(config: TrainConfig) -> tuple[Backend, Callable[[Any, World], None]]:
    from shardtune.train.loop import train

    return "horovod", partial(train, build_model=build)


if __name__ == "__main__":
    cli.lead(lambda: tyro.cli(TrainConfig, args=sys.argv[1:]), stage)
