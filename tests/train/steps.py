"""Steps of training a small network on the same few images."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from shardtune.input.order import micro_batches
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.state import TrainState
from shardtune.train.step import StepMetrics, TrainStep

BATCH, SIDE, CLASSES = 6, 8, 5
GENERATOR = np.random.default_rng(2)
IMAGES = tf.constant(GENERATOR.normal(size=(BATCH, SIDE, SIDE, 3)), tf.float32)
LABELS = tf.constant([0, 1, 2, 3, 4, 2], tf.int64)
CONFIG = TrainConfig(Path("d"), Path("d"), batch_size=BATCH, weight_decay=0.0)


def stepped(model: Any, steps: int, rate: float, config: TrainConfig = CONFIG) -> list[StepMetrics]:
    run = TrainStep(TrainState(model, config), World(), config, BATCH)
    return [take(run, step, rate, batch_size=config.batch_size) for step in range(steps)]


def take(
    run: TrainStep, step: int, rate: float, *, examples: int = BATCH, batch_size: int = BATCH, stop_requested: bool = False
) -> StepMetrics:
    """Train on the first `examples` examples, in micro-batches."""
    bounds = micro_batches(examples, -(-examples // batch_size))
    batch = [(IMAGES[begin:end], LABELS[begin:end]) for begin, end in bounds]
    return run(batch, step, rate, stop_requested)()
