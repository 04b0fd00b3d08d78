"""Run by test_train_stops.py: in a run, an operation over all workers fails.

usage: python -m tests.distributed.operation_body RUN
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from shardtune import cli
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig


def fail(context: Any) -> None:
    """Tensors that cannot be added up, since they have other shapes."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    context.outcome.mark_running(0)
    hvd.allreduce(tf.zeros([2 + context.world.rank]), name="mismatched")


def train(config: TrainConfig, world: World) -> None:
    from shardtune.train.failures import run_reporting_failures
    from shardtune.train.run_context import RunContext
    from shardtune.train.stopping import StopRequest

    config.train_dir.mkdir(exist_ok=True)
    world.use_roll_call(config.train_dir / "logs")
    context = RunContext.open(config, world, StopRequest(None), threads=1)
    run_reporting_failures(context, partial(fail, context))


if __name__ == "__main__":
    cli.run_command(lambda: TrainConfig(Path(), Path(sys.argv[1])), lambda config: ("horovod", train))
