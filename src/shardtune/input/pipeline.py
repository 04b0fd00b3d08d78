"""Batches for one rank, as tf.data: training goes on for ever in shuffled order, evaluation sees each example once."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from shardtune.input import augment, order
from shardtune.input.reader import RecordReader
from shardtune.world import World

FEATURES = {"image/encoded": tf.io.FixedLenFeature([], tf.string), "image/class/label": tf.io.FixedLenFeature([], tf.int64)}


def training_batches(
    reader: RecordReader,
    world: World,
    *,
    batch_size: int,
    image_size: int,
    augmentation: Literal["light", "none"],
    seed: int,
    first_step: int,
    threads: int,
) -> Iterator[tuple[Any, Any]]:
    """This rank's part of every global batch from `first_step` on.

    Yields (images float32 [batch_size, image_size, image_size, 3] in −1 to 1, labels int64 [batch_size]).
    Which examples a step sees, and how each is augmented, does not depend on the number of ranks.
    """
    mine = slice(world.rank * batch_size, (world.rank + 1) * batch_size)

    def read(step: Any) -> Any:
        batch, epochs = order.global_batch(len(reader), seed, int(step), batch_size * world.size)
        # One seed for each example and epoch; the run's seed is mixed in where it cannot collide with an epoch.
        seeds = np.stack([(np.int64(seed) << 32) + epochs, batch], axis=1)
        return np.array(reader.read(batch[mine]), object), seeds[mine]

    def decode(record: Any, example_seed: Any) -> Any:
        features = tf.io.parse_single_example(record, FEATURES)
        image = augment.training_image(features["image/encoded"], image_size, augmentation, example_seed)
        return tf.ensure_shape(image, (image_size, image_size, 3)), features["image/class/label"]

    steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max)
    records = steps.map(lambda step: _numpy(read, step, batch_size, (tf.string, tf.int64)))
    records = records.unbatch()
    images = records.map(decode, num_parallel_calls=threads).batch(batch_size, drop_remainder=True)
    return _with_our_errors(images.prefetch(2), reader)


def evaluation_batches(
    reader: RecordReader, world: World, *, batch_size: int, image_size: int, examples: int, threads: int
) -> Iterator[tuple[Any, Any]]:
    """This rank's share of the first `examples` examples, in whole batches dealt out in turn.

    Dealing batches, not examples, keeps every image in the same batch for any number of ranks, and so its logits
    the same to the last bit. Yields like `training_batches`; the last batch of the split may be smaller.
    """

    def read(start: Any) -> Any:
        indices = np.arange(int(start), min(int(start) + batch_size, examples), dtype=np.int64)
        return np.array(reader.read(indices), object)

    def decode(record: Any) -> Any:
        features = tf.io.parse_single_example(record, FEATURES)
        image = augment.central(features["image/encoded"], image_size)
        return tf.ensure_shape(image, (image_size, image_size, 3)), features["image/class/label"]

    starts = tf.data.Dataset.range(world.rank * batch_size, examples, world.size * batch_size)
    records = starts.map(lambda start: _numpy(read, start, None, (tf.string,))).unbatch()
    images = records.map(decode, num_parallel_calls=threads).batch(batch_size)
    return _with_our_errors(images.prefetch(2), reader)


def _numpy(function: Any, argument: Any, batch_size: int | None, types: tuple[Any, ...]) -> Any:
    # stateful=False: a stateful op would make TensorFlow's deterministic mode run the whole pipeline serially.
    outputs = tf.numpy_function(function, [argument], types, stateful=False)
    for output, kind in zip(outputs, types, strict=True):
        output.set_shape([batch_size] if kind == tf.string else [batch_size, 2])
    return outputs if len(outputs) > 1 else outputs[0]


def _with_our_errors(dataset: Any, reader: RecordReader) -> Iterator[tuple[Any, Any]]:
    try:
        yield from dataset
    except tf.errors.OpError:
        if reader.failure:
            raise reader.failure from None
        raise
