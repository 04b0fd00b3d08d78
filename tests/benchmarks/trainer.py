"""What a step of shardtune costs over a bare one: `python -m tests.benchmarks.trainer`, or behind a launcher.

Steps of each kind take turns in one process, on one batch, so that whatever else the machine does hits all alike:

bare       forward, backward, weight decay, update and averages in one tf.function; under a launcher with one
           grouped_allreduce of all gradients
shardtune  `TrainStep` and the guard around it, as the loop has them

Processor time is printed beside wall time: on a machine that does other things too it is the truer one of a single process.

    python -m tests.benchmarks.trainer
    mpirun -n 2 python -m tests.benchmarks.trainer
    horovodrun --gloo -np 2 python -m tests.benchmarks.trainer
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from shardtune.model import inception
from shardtune.model.batchnorm import moments_collected
from shardtune.runtime import devices
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep

CLASSES = 6


@dataclass(frozen=True)
class Options:
    """What is measured."""

    image_size: int = 299
    batch_size: int = 8
    """Per worker."""
    rounds: int = 8
    """How often each kind has its turn."""
    steps: int = 2
    """Of one turn."""
    deterministic: bool = False
    """As under `--deterministic`."""


def bare_step(model: Any, world: World) -> Callable[[Any, Any, Any], Any]:
    """Forward, backward, one reduction, update; nothing else. Variable by variable, as a person would write it."""
    optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True)
    optimizer.build(model.trainable_variables)
    weights = [variable.value for variable in model.trainable_variables]
    moving = [variable for variable in model.non_trainable_variables if "moving" in variable.name]
    averages = [(tf.Variable(variable.value), variable) for variable in [*model.trainable_variables, *moving]]

    def step(images: Any, labels: Any, number: Any) -> Any:
        with tf.GradientTape() as tape, moments_collected() as moments:
            outputs = model(images, training=True)
            losses = [
                tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs[name]))
                for name in ("logits", "aux_logits")
                if name in outputs
            ]
            loss = tf.add_n(losses)
        gradients = world.allreduce_sum(tape.gradient(loss, weights), "gradients")
        gradients = [gradient / world.size for gradient in gradients]
        gradients = [
            gradient + 4e-5 * weight if len(weight.shape) > 1 else gradient
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
        optimizer.apply(gradients, model.trainable_variables)
        for variable in moving:
            variable.assign(0.9 * variable.value + 0.1 * moments[id(variable)])
        rate = 1 - tf.minimum(0.9999, (1 + tf.cast(number, tf.float32)) / (10 + tf.cast(number, tf.float32)))
        for average, variable in averages:
            average.assign_sub(rate * (average - variable.value))
        return loss

    return tf.function(step, autograph=False)


def kinds(options: Options, world: World) -> dict[str, Callable[[int], None]]:
    """What takes a number of steps, by name."""
    directory = Path(tempfile.mkdtemp())
    config = TrainConfig(directory, directory, batch_size=options.batch_size, image_size=options.image_size)
    images = tf.random.stateless_uniform(
        [options.batch_size, options.image_size, options.image_size, 3], [1, world.rank], -1, 1
    )
    labels = tf.ones([options.batch_size], tf.int64)
    bare = bare_step(inception.build(CLASSES, options.image_size), world)
    state = TrainState(inception.build(CLASSES, options.image_size), config)
    ours = TrainStep(state, world, config, world.size * options.batch_size)
    world.guard.start()
    world.guard.set_timeout(600.0)

    def take_bare(count: int) -> None:
        for step in range(count):
            float(bare(images, labels, tf.constant(step)))

    def take_ours(count: int) -> None:
        for step in range(count):
            world.guard.heartbeat("waiting for input", step=step, phase=0)
            world.guard.heartbeat("in a step", step=step, phase=1)
            ours([(images, labels)], step, 1e-4, stop_requested=False)()

    return {"bare": take_bare, "shardtune": take_ours}


def main(options: Options) -> None:
    """Print images per second of each kind, all workers together."""
    world = World.from_environment("horovod", os.environ)
    devices.configure_devices(world)
    devices.disable_graph_rewriting()
    if options.deterministic:
        tf.keras.utils.set_random_seed(0)
        devices.enable_determinism()
    takers = kinds(options, world)
    clocks = {"wall": time.perf_counter, "processor": time.process_time}
    seconds: dict[tuple[str, str], list[float]] = {(kind, clock): [] for kind in takers for clock in clocks}
    for take in takers.values():
        take(1)  # compiles
    for _ in range(options.rounds):
        for kind, take in takers.items():
            world.barrier()
            started = {clock: now() for clock, now in clocks.items()}
            take(options.steps)
            for clock, now in clocks.items():
                seconds[kind, clock].append((now() - started[clock]) / options.steps)
    if world.is_root:
        medians = {of: statistics.median(times) for of, times in seconds.items()}
        for kind in takers:
            wall, processor = medians[kind, "wall"], medians[kind, "processor"]
            rate = world.size * options.batch_size / wall
            sys.stdout.write(f"{kind:10} {wall:.3f} s a step, {processor:.3f} s of processors, {rate:.2f} images/s\n")
        for clock in clocks:
            ratio = medians["bare", clock] / medians["shardtune", clock]
            sys.stdout.write(f"speed of shardtune / bare by {clock} time: {ratio:.3f}\n")
    os._exit(0) if world.size == 1 else world.barrier()


if __name__ == "__main__":
    main(tyro.cli(Options))
