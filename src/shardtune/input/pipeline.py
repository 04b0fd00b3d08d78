"""Batches for one rank, as tf.data: training goes on for ever in shuffled order, evaluation sees each example once."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import numpy as np

from shardtune.config import Augmentation
from shardtune.errors import DataError, UsageError
from shardtune.input import augment
from shardtune.input.order import Indices, global_batch, rank_slice
from shardtune.input.reader import RecordReader
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World

FEATURES = {"image/encoded": tf.io.FixedLenFeature([], tf.string), "image/class/label": tf.io.FixedLenFeature([], tf.int64)}
SIDES = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
READ_AT_ONCE = 256  # records: half of those that are mixed with each other, so that many of them are neighbours
QUEUE_UNIT = 1024  # records: what research/inception took for the size of a shard
BATCHES_AHEAD = 1

Places = Callable[[int], tuple[Indices, Indices]]  # of a batch's number: its examples [n], and the seed of each [n, 2]
Decode = Callable[[Any, Any], tuple[Any, Any]]  # of a record and its seed: image and label


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
) -> Generator[tuple[Any, Any, set[int]], None, None]:
    """This rank's part of every global batch from `first_step` on; parts differ by at most one example.

    Yields (images float32 [n, image_size, image_size, 3] in −1 to 1, labels int64 [n], numbers of the corrupt records that
    others stand for). To be closed: threads read ahead until then. Which examples a step sees, and how each is augmented, does
    not depend on the number of ranks.

    Raises:
        UsageError: a rank would have no example.
        DataError: while it yields: a record is damaged or is no image, or a shard has changed.
    """
    if global_batch_size < world.size:
        raise UsageError(
            f"Each worker has at least one example of a global batch, but {world.size} workers share {global_batch_size}: "
            f"start fewer workers."
        )
    begin, end = rank_slice(global_batch_size, world)

    def places(step: int) -> tuple[Indices, Indices]:
        examples, epochs = global_batch(reader.shards, seed, step, global_batch_size)
        return examples[begin:end], example_seeds(seed, epochs[begin:end], examples[begin:end])

    def decode(record: Any, example_seed: Any) -> tuple[Any, Any]:
        jpeg, label, boxes = parse(record, boxes=augmentation == "inception")
        return augment.training_image(jpeg, boxes, image_size, augmentation, example_seed), label

    steps = range(first_step, np.iinfo(np.int64).max)
    batches = _batches(reader, places, decode, steps, end - begin, QUEUE_UNIT * input_queue_memory_factor, threads)
    with closing(batches):
        for images, labels, corrupt in batches:
            yield images, labels, set(corrupt[corrupt >= 0].tolist())


def evaluation_batches(
    reader: RecordReader, world: World, *, batch_size: int, image_size: int, examples: int, threads: int
) -> Generator[tuple[Any, Any], None, None]:
    """This rank's share of the first `examples` examples, in whole batches dealt out in turn.

    Dealing batches, not examples, keeps every image in the same batch for any number of ranks, and so its logits
    the same to the last bit. Yields (images, labels) like `training_batches`, to be closed like it; the last batch of the split
    may be smaller, and so are batches that corrupt records are left out of. All ranks yield equally many: some end with an
    empty one.

    Raises:
        DataError: while it yields: a record is damaged or is no image, or a shard has changed.
    """

    def places(number: int) -> tuple[Indices, Indices]:
        indices = np.arange(number * batch_size, min((number + 1) * batch_size, examples), dtype=np.int64)
        return indices, np.zeros((len(indices), 2), np.int64)

    def decode(record: Any, _: Any) -> tuple[Any, Any]:
        jpeg, label, _ = parse(record, boxes=False)
        return augment.central(jpeg, image_size), label

    total = -(-examples // batch_size)
    numbers = range(world.rank, total, world.size)
    with closing(_batches(reader, places, decode, numbers, batch_size, QUEUE_UNIT, threads)) as batches:
        for images, labels, corrupt in batches:
            sound = corrupt < 0
            yield (images, labels) if np.all(sound) else (images[sound], labels[sound])
    if len(numbers) < -(-total // world.size):
        yield tf.zeros((0, image_size, image_size, 3)), tf.zeros(0, tf.int64)


def example_seeds(seed: int, epochs: Indices, examples: Indices) -> Indices:
    """What each example's augmentation is a function of, int64 [n, 2]: a hash of seed and epoch, and the example."""
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


def _batches(
    reader: RecordReader, places: Places, decode: Decode, numbers: range, size: int, queue: int, threads: int
) -> Generator[tuple[Any, Any, Indices], None, None]:
    """The batches of these `numbers`, of `size` examples but for the last: images, labels, and the number of each example
    that is corrupt, −1 for the others. Up to `queue` records wait to be decoded."""
    at_once = max(1, min(READ_AT_ONCE, queue) // size)  # batches
    failures: list[Exception] = []

    def read(first: Any) -> Any:
        try:
            parts = [places(number) for number in numbers[first : first + at_once]]
            examples, seeds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            records = np.array(reader.read(examples), object)
            return records, seeds, np.array([index if index in reader.corrupt else -1 for index in examples.tolist()])
        except Exception as error:  # TensorFlow would make text of it
            failures.append(error)
            raise

    def shaped(*read: Any) -> Any:
        for tensor, shape in zip(read, ([None], [None, 2], [None]), strict=True):
            tensor.set_shape(shape)
        return read

    def decoded(record: Any, seed: Any, corrupt: Any) -> Any:
        return *decode(record, seed), corrupt

    options = tf.data.Options()
    # One thread an image: sums over an image then have one order of their terms, whatever the machine.
    options.threading.max_intra_op_parallelism = 1
    options.threading.private_threadpool_size = threads
    options.autotune.enabled = False  # every size is given, so that memory stays what it is
    types = (tf.string, tf.int64, tf.int64)
    dataset = (
        tf.data.Dataset.range(0, len(numbers), at_once)
        # stateful=False: a stateful op would make TensorFlow's deterministic mode run the whole pipeline serially.
        .map(lambda first: shaped(*tf.numpy_function(read, [first], types, stateful=False)))
        .prefetch(max(1, queue // (at_once * size) - 1))  # one more is in use
        .unbatch()
        # No more than `threads` run; the others are done, and wait for one before them that takes longer.
        .map(decoded, num_parallel_calls=2 * threads)
        .batch(size)
        .prefetch(BATCHES_AHEAD)
        .with_options(options)
    )
    done = 0
    try:
        for images, labels, corrupt in dataset:
            yield images, labels, corrupt.numpy()
            done += 1
    except tf.errors.OpError as error:
        if failures:
            raise failures[0] from None
        raise (_undecodable(reader, decode, *places(numbers[done])) or error) from None


def _undecodable(reader: RecordReader, decode: Decode, examples: Indices, seeds: Indices) -> DataError | None:
    """The error about the first example of a batch that is no image; TensorFlow's does not say which it is."""
    for example, seed in zip(examples, seeds, strict=True):
        try:
            with tf.device("CPU"):
                decode(tf.constant(reader.read(example[np.newaxis])[0]), tf.constant(seed))
        except tf.errors.OpError as error:
            return DataError(
                f"Every record holds an RGB JPEG, a label, and boxes within the image, but {reader.describe_record(int(example))} does "
                f"not ({(error.message or '').splitlines()[0]}): build the data set again, with --overwrite."
            )
    return None
