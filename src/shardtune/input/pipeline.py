"""Batches for one rank, as tf.data: training goes on for ever in shuffled order, evaluation sees each example once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shardtune.config import Augmentation
from shardtune.errors import DataError, UsageError
from shardtune.input import augment
from shardtune.input.order import Indices, examples_at
from shardtune.input.reader import RecordReader
from shardtune.world import World

FEATURES = {"image/encoded": tf.io.FixedLenFeature([], tf.string), "image/class/label": tf.io.FixedLenFeature([], tf.int64)}
SIDES = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
READ_AT_ONCE = 512  # records: as many as are mixed with each other, so that many of them are neighbours
QUEUE_UNIT = 1024  # records: what research/inception took for the size of a shard
BATCHES_AHEAD = 2


def training_batches(
    reader: RecordReader,
    world: World,
    *,
    global_batch_size: int,
    image_size: int,
    augmentation: Augmentation,
    seed: int,
    first_step: int,
    threads: int,
    input_queue_memory_factor: int = 1,
) -> Iterator[tuple[Any, Any]]:
    """This rank's part of every global batch from `first_step` on; parts differ by at most one example.

    Yields (images float32 [n, image_size, image_size, 3] in −1 to 1, labels int64 [n]).
    Which examples a step sees, and how each is augmented, does not depend on the number of ranks.

    Raises:
        UsageError: a rank would have no example.
        DataError: while it yields: a record is damaged or is no image, or a shard has changed.
    """
    if global_batch_size < world.size:
        raise UsageError(
            f"Each worker has at least one example of a global batch, but {world.size} workers share {global_batch_size}: "
            f"start fewer workers."
        )
    begin, end = (rank * global_batch_size // world.size for rank in (world.rank, world.rank + 1))
    steps = max(1, min(READ_AT_ONCE, QUEUE_UNIT * input_queue_memory_factor) // (end - begin))
    ahead = max(1, QUEUE_UNIT * input_queue_memory_factor // (steps * (end - begin)) - 1)  # one more is in use
    mine = np.arange(begin, end, dtype=np.int64)
    boxes = augmentation == "inception"

    def read(first: Any) -> Any:
        positions = (np.arange(first, first + steps)[:, np.newaxis] * global_batch_size + mine).ravel()
        examples, epochs = examples_at(reader.shards, seed, positions)
        return np.array(reader.read(examples), object), example_seeds(seed, epochs, examples)

    def decode(record: Any, example_seed: Any) -> Any:
        jpeg, label, objects = parse(record, boxes=boxes)
        return _shaped(augment.training_image(jpeg, objects, image_size, augmentation, example_seed), image_size), label

    chunks = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max, steps)
    records = chunks.map(lambda first: _numpy(read, first, (tf.string, tf.int64))).prefetch(ahead).unbatch()
    images = records.map(decode, num_parallel_calls=threads).batch(end - begin, drop_remainder=True)
    return _batches(images, reader, threads)


def evaluation_batches(
    reader: RecordReader, world: World, *, batch_size: int, image_size: int, examples: int, threads: int
) -> Iterator[tuple[Any, Any]]:
    """This rank's share of the first `examples` examples, in whole batches dealt out in turn.

    Dealing batches, not examples, keeps every image in the same batch for any number of ranks, and so its logits
    the same to the last bit. Yields and raises like `training_batches`; the last batch of the split may be smaller, and
    so are batches that corrupt records are left out of.
    """

    def read(start: Any) -> Any:
        indices = np.arange(start, min(start + batch_size, examples), dtype=np.int64)
        records = np.array(reader.read(indices), object)
        return records, np.array([index not in reader.corrupt for index in indices.tolist()])

    def decode(record: Any, sound: Any) -> Any:
        jpeg, label, _ = parse(record, boxes=False)
        return _shaped(augment.central(jpeg, image_size), image_size), label, sound

    starts = tf.data.Dataset.range(world.rank * batch_size, examples, world.size * batch_size)
    records = starts.map(lambda start: _numpy(read, start, (tf.string, tf.bool))).prefetch(1).unbatch()
    batches = records.map(decode, num_parallel_calls=threads).batch(batch_size)
    for images, labels, sound in _batches(batches, reader, threads):
        if np.all(sound):
            yield images, labels
        elif np.any(sound):
            yield images[sound], labels[sound]


def example_seeds(seed: int, epochs: Indices, examples: Indices) -> npt.NDArray[np.int64]:
    """What each example's augmentation is a function of, int64 [n, 2]: no two of (seed, epoch, example) share one."""
    keys = {
        epoch: np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] for epoch in np.unique(epochs).tolist()
    }
    return np.stack([np.array([keys[epoch] for epoch in epochs.tolist()], np.uint64).view(np.int64), examples], axis=1)


def parse(record: Any, *, boxes: bool) -> Any:
    """JPEG bytes, label, and float32 [n, 4] boxes of an Example; no box where they are not asked for."""
    sides = {name: tf.io.VarLenFeature(tf.float32) for name in SIDES} if boxes else {}
    features = tf.io.parse_single_example(record, FEATURES | sides)
    objects = tf.stack([features[name].values for name in sides], axis=1) if boxes else None
    return features["image/encoded"], features["image/class/label"], objects


def _shaped(image: Any, size: int) -> Any:
    return tf.ensure_shape(image, (size, size, 3))


def _numpy(function: Any, argument: Any, types: tuple[Any, Any]) -> Any:
    # stateful=False: a stateful op would make TensorFlow's deterministic mode run the whole pipeline serially.
    records, others = tf.numpy_function(function, [argument], types, stateful=False)
    records.set_shape([None])
    others.set_shape([None] if types[1] == tf.bool else [None, 2])
    return records, others


def _batches(dataset: Any, reader: RecordReader, threads: int) -> Iterator[Any]:
    """The batches of `dataset`, with errors in our words."""
    options = tf.data.Options()
    # One thread an image: sums over an image then have one order of their terms, whatever the machine.
    options.threading.max_intra_op_parallelism = 1
    options.threading.private_threadpool_size = threads + 1  # one more for reading
    options.autotune.enabled = False  # every size is given, so that memory stays what it is
    try:
        yield from dataset.prefetch(BATCHES_AHEAD).with_options(options)
    except tf.errors.OpError as error:
        if reader.failure:
            raise reader.failure from None
        raise DataError(
            f"Every record holds an RGB JPEG, a label, and boxes within the image, but one does not "
            f"({(error.message or '').splitlines()[0]}): build the data set again."
        ) from None
