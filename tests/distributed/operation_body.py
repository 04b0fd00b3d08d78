"""Run by test_train_stops.py: in a run, an operation over all workers fails or never ends.

usage: python -m tests.distributed.operation_body mismatched|broken|blocked RUN
"""

import ctypes
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from shardtune import cli
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig


def mismatched(world: World) -> None:
    """Tensors that cannot be added up, since they have other shapes."""
    from shardtune.runtime.frameworks import tf

    world.allreduce_sum([tf.zeros([2 + world.rank])], "mismatched")


def broken(world: World) -> None:
    """Rank 1 dies in the middle of a transfer, so that the error is the network's and not Horovod's."""
    from shardtune.runtime.frameworks import tf

    add_up = tf.function(lambda tensor: world.allreduce_sum([tensor], "broken"), autograph=False)
    large = tf.zeros([60_000_000])
    add_up(large)
    if world.rank == 1:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    while True:
        add_up(large)


def blocked(world: World) -> None:
    """Rank 1 dies unseen, and rank 0 stays in C code that no signal interrupts, as NCCL's users do then."""
    world.guard.set_timeout(1.5)
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    while True:
        library.pthread_mutex_lock(mutex)


def fail(context: Any) -> None:
    context.world.guard.interrupts.listen(context.stop_request.record_signal)  # launchers ask the others to stop
    context.outcome.mark_running(0)
    {"mismatched": mismatched, "broken": broken, "blocked": blocked}[sys.argv[1]](context.world)


def train(config: TrainConfig, world: World) -> None:
    from shardtune.train.failures import run_reporting_failures
    from shardtune.train.run_context import RunContext
    from shardtune.train.stopping import StopRequest

    config.train_dir.mkdir(exist_ok=True)
    world.use_roll_call(config.train_dir / "logs")
    context = RunContext.open(config, world, StopRequest(None), threads=1)
    run_reporting_failures(context, partial(fail, context))


if __name__ == "__main__":
    if sys.argv[1] == "blocked" and os.environ["HOROVOD_RANK"] == "1" and os.fork():
        signal.pause()  # the launcher watches this process, and not the rank
    cli.run_command(lambda: TrainConfig(Path(), Path(sys.argv[2])), lambda config: ("horovod", train))
