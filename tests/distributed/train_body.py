"""`shardtune train` with a small network in place of Inception v3: `python -m tests.distributed.train_body flag…`.

On the rank that the variable DRIFTING_RANK names, a weight changes for no reason after some steps, as with failing memory.
With the variable UNBUILDABLE_NETWORK no network can be built.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tyro

from shardtune import cli
from shardtune.dataset.manifest import Manifest
from shardtune.runtime.world import Backend, World
from shardtune.train.config import TrainConfig
from tests.distributed.training import DRIFTING, UNBUILDABLE, lines


def build(manifest: Manifest, config: TrainConfig, world: World) -> Any:
    """The network, with an auxiliary head."""
    from tests.train.networks import small

    if UNBUILDABLE in os.environ:
        raise AssertionError("a network is built")
    options = {"kind": config.batch_norm, "decay": config.batch_norm_decay, "world": world, "frozen": bool(config.freeze_until)}
    model = small(manifest.num_classes, config.image_size, auxiliary=True, **options)
    if os.environ.get(DRIFTING) == str(world.rank):
        threading.Thread(target=drift, args=(model.trainable_variables[0], config), daemon=True).start()
    return model


def drift(variable: Any, config: TrainConfig) -> None:
    while lines(config.train_dir) < 5:
        time.sleep(0.02)
    variable.value.assign_add(np.full(variable.shape, 1e-3, np.float32))


def stage(config: TrainConfig) -> tuple[Backend, Callable[[Any, World], None]]:
    backend, train = cli._select_command(config)
    assert backend
    return backend, partial(train, build_model=build)


if __name__ == "__main__":
    cli.run_command(lambda: tyro.cli(TrainConfig, args=sys.argv[1:]), stage)
