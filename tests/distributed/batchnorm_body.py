"""Run by test_batchnorm.py on several processes: together they compute what one of them computes with the whole batch."""

import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shardtune.model.batchnorm import BatchNormalization, BatchNormOptions, moments_collected
from shardtune.model.inception import LOGITS_LAYER
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.loss_scale import INITIAL_SCALE
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep

EXAMPLES, SIDE = 8, 6
GENERATOR = np.random.default_rng(0)
IMAGES = (GENERATOR.normal(size=(EXAMPLES, SIDE, SIDE, 3)) * 3 + 5).astype(np.float32)
WEIGHTS = GENERATOR.normal(size=(EXAMPLES, 4)).astype(np.float32)


def computed(world: World, mine: slice) -> list[Any]:
    """Output, gradients (summed over the world) and moments of a small network in one synced step."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for number in (1, 2):
        x = keras.layers.Conv2D(4, 3, use_bias=False, kernel_initializer=keras.initializers.HeNormal(seed=number))(x)
        x = keras.layers.ReLU()(BatchNormalization(BatchNormOptions("synced", world))(x))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step() -> tuple[Any, list[Any], list[Any]]:
        with tf.GradientTape() as tape, moments_collected() as moments:
            output = model(tf.constant(IMAGES[mine]), training=True)
            loss = tf.reduce_sum(output * tf.constant(WEIGHTS[mine]))
        return output, world.allreduce_sum(tape.gradient(loss, weights), "gradients"), list(moments.values())

    output, gradients, moments = step()
    return [output, *gradients, *moments]


def many_equal_one(world: World) -> None:
    whole = computed(World(), slice(0, EXAMPLES))
    # Two ranks have 4 and 4 of 8 examples, three have 3, 2 and 3.
    edges = [round(EXAMPLES * rank / world.size) for rank in range(world.size + 1)]
    mine = slice(edges[world.rank], edges[world.rank + 1])
    for number, (part, expected) in enumerate(zip(computed(world, mine), whole, strict=True)):
        difference = np.abs(part - (expected[mine] if number == 0 else expected)).max()
        assert difference <= 1e-5 * np.abs(expected).max(), f"{number}: {difference}"


def an_overflow_on_one_skips_the_step_on_all(world: World) -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    pool = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, {"logits": keras.layers.Dense(3, name=LOGITS_LAYER)(pool), "pool": pool})
    directory = Path()
    config = TrainConfig(directory, directory, batch_size=EXAMPLES, precision="mixed_float16")
    state = TrainState(model, config)
    step = TrainStep(state, world, config, world.size * EXAMPLES)
    for number, (images, moves) in enumerate([(IMAGES * (np.inf if world.rank == 1 else 1), False), (IMAGES, True)]):
        before = [variable.numpy() for variable in model.trainable_variables]
        step([(images, np.ones(EXAMPLES, np.int64))], number, 0.1, stop_requested=False)()
        after = zip(before, model.trainable_variables, strict=True)
        assert all(np.array_equal(a, b) != moves for a, b in after)
        assert state.loss_scale.scale.numpy() == INITIAL_SCALE / 2


if __name__ == "__main__":
    this = World.from_environment("horovod", os.environ)
    many_equal_one(this)
    an_overflow_on_one_skips_the_step_on_all(this)
    this.barrier()
    sys.stdout.write(f"rank {this.rank} of {this.size} ok\n")
