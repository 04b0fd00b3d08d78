"""`shardtune train` with a small network in place of Inception v3: `python -m tests.distributed.train_body flag…`.

On the rank that the variable DRIFTING_RANK names, a weight changes for no reason after some steps, as with failing memory.
With the variable UNBUILDABLE_NETWORK no network can be built. STEPS_AHEAD says for how many steps the host does not wait, as if
there were a GPU. With LATE_WORDS it takes 2 s to print an error, as on a busy machine.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import tyro

from shardtune import cli
from shardtune.dataset.manifest import Manifest
from shardtune.runtime.world import Backend, World
from shardtune.train.config import TrainConfig
from tests.distributed.training import AHEAD, DRIFTING, LATE_WORDS, UNBUILDABLE, lines


def build(manifest: Manifest, config: TrainConfig, world: World) -> Any:
    """The network, with an auxiliary head."""
    from tests.train.networks import small

    if UNBUILDABLE in os.environ:
        raise AssertionError("a network is built")
    options = {"kind": config.batch_norm, "world": world, "frozen": bool(config.freeze_until)}
    model = small(manifest.num_classes, config.image_size, auxiliary=True, **options)
    if os.environ.get(DRIFTING) == str(world.rank):
        threading.Thread(target=drift, args=(config,), daemon=True).start()
    return model


def drift(config: TrainConfig) -> None:
    """After some steps, change weights of this rank alone: in the vector, which each step copies to the variables."""
    from shardtune.model.packing import PackedVariables, pack

    while lines(config.train_dir) < 5:
        time.sleep(0.02)
    groups = [value for value in gc.get_objects() if isinstance(value, PackedVariables)]
    group = next(group for group in groups if "below/weights" in group.variables)
    changes = [variable.value * (1e-3 if name == "below/weights" else 0) for name, variable in group.variables.items()]
    group.vector.assign(group.vector.value + pack(changes))


def stage(config: TrainConfig) -> tuple[Backend, Callable[[Any, World], None]]:
    from shardtune.train import trainer

    backend, train = cli._select_command(config)
    assert backend
    trainer.steps_ahead = lambda: int(os.environ.get(AHEAD, "0"))
    return backend, partial(train, build_model=build)


def print_late(text: str, print_error: Callable[[str], None] = cli._print_error) -> None:
    time.sleep(2)
    print_error(text)


if __name__ == "__main__":
    if LATE_WORDS in os.environ:
        cli._print_error = print_late
    cli.run_command(lambda: tyro.cli(TrainConfig, args=sys.argv[1:]), stage)
