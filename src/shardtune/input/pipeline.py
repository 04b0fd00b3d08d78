"""Batches for one rank, as tf.data: training repeats for ever in shuffled order, evaluation sees each example once."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardtune.config import Augmentation
from shardtune.errors import DataError, UsageError
from shardtune.input import augment
from shardtune.input.batch_records import BatchPlan, BatchRecords
from shardtune.input.order import Indices, global_batch, micro_batches, rank_slice
from shardtune.input.reader import RecordReader
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World

FEATURES = {"image/encoded": tf.io.FixedLenFeature([], tf.string), "image/class/label": tf.io.FixedLenFeature([], tf.int64)}
BOX_FEATURES = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
QUEUED_RECORDS = 1024  # what research/inception took for the size of a shard
BATCHES_AHEAD = 1

MicroBatch = tuple[Any, Any]  # images and labels
EvaluationBatch = tuple[Indices, Any, Any]  # numbers of the examples, images and labels


@dataclass(frozen=True)
class InputOptions:
    """How a rank turns records into images.

    Attributes:
        image_size: pixels of each side.
        num_threads: images that are decoded at the same time.
        augmentation: as the flag --augment of `shardtune train`.
        seed: of the order and of the augmentation; at least 0.
        max_queued_records: records in memory that wait to be decoded.
        device: TensorFlow's name of the device to which images and labels are copied before they are asked for.
    """

    image_size: int
    num_threads: int
    augmentation: Augmentation = "none"
    seed: int = 0
    max_queued_records: int = QUEUED_RECORDS
    device: str = "/CPU:0"


def training_batches(
    reader: RecordReader, world: World, options: InputOptions, *, global_batch_size: int, first_step: int, count: int = 1
) -> Generator[tuple[list[MicroBatch], set[int]], None, None]:
    """This rank's part of every global batch from `first_step` on, as `count` micro-batches; parts differ by at most one
    example.

    The examples of a step and their augmentation do not depend on the number of ranks. Close the generator: until then,
    threads read ahead.

    Yields:
        batch: `micro_batches` of this rank's part, each images float32 [n, image_size, image_size, 3] in −1 to 1, and labels
            int64 [n].
        corrupt: numbers of the corrupt records of this batch, which others replace.

    Raises:
        UsageError: a rank would have no example.
        DataError: while it yields: a record is damaged or is no image, or a shard has changed.
    """
    if global_batch_size < world.size:
        raise UsageError(
            f"A global batch of {global_batch_size} is too small for {world.size} workers, which need an example each.",
            f"Start at most {global_batch_size} worker(s).",
        )
    begin, end = rank_slice(global_batch_size, world)
    shard_sizes = reader.shard_sizes  # not the reader, which `BatchRecords` lets go

    def select(step: int) -> tuple[Indices, Indices]:
        examples, epochs = global_batch(shard_sizes, options.seed, step, global_batch_size)
        return examples[begin:end], example_seeds(options.seed, epochs[begin:end], examples[begin:end])

    plan = BatchPlan(range(first_step, np.iinfo(np.int64).max), micro_batches(end - begin, count), select)
    with closing(_Batches(reader, plan, options).generate()) as batches:
        yield from ((batch, corrupt) for _, batch, corrupt in batches)


def evaluation_batches(
    reader: RecordReader, world: World, options: InputOptions, *, batch_size: int, examples: int
) -> Generator[EvaluationBatch, None, None]:
    """This rank's part of the first `examples` examples: batch i goes to rank i modulo the number of ranks.

    Whole batches are distributed, not examples: so an image has the same batch for any number of ranks, and the same
    logits to the last bit. Corrupt records are left out of their batch. All ranks yield equally many batches, some an empty
    one at the end. Close the generator: until then, threads read ahead.

    Yields:
        examples: numbers of the examples in their split, int64 [n]; n is `batch_size` or less.
        images: float32 [n, image_size, image_size, 3] in −1 to 1.
        labels: int64 [n].

    Raises:
        DataError: while it yields: a record is damaged or is no image, or a shard has changed.
    """

    def select(number: int) -> tuple[Indices, Indices]:
        indices = np.arange(number * batch_size, min((number + 1) * batch_size, examples), dtype=np.int64)
        return indices, np.zeros((len(indices), 2), np.int64)

    total = -(-examples // batch_size)
    plan = BatchPlan(range(world.rank, total, world.size), [(0, batch_size)], select)
    with closing(_Batches(reader, plan, options).generate()) as batches:
        for number, [(images, labels)], corrupt in batches:
            numbers, _ = select(number)
            if corrupt:
                valid = ~np.isin(numbers, list(corrupt))
                numbers, images, labels = numbers[valid], images[valid], labels[valid]
            yield numbers, images, labels
    if len(plan.numbers) < -(-total // world.size):
        yield np.zeros(0, np.int64), tf.zeros((0, options.image_size, options.image_size, 3)), tf.zeros(0, tf.int64)


def example_seeds(seed: int, epochs: Indices, examples: Indices) -> Indices:
    """The seed of each example's augmentation, int64 [n, 2]: a hash of seed and epoch, and the example's number."""
    keys = {
        epoch: np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] for epoch in np.unique(epochs).tolist()
    }
    return np.stack([np.array([keys[epoch] for epoch in epochs.tolist()], np.uint64).view(np.int64), examples], axis=1)


def parse(record: Any, *, boxes: bool) -> Any:
    """JPEG bytes, label, and boxes of an Example: float32 [n, 4], or None without `boxes`."""
    sides = {name: tf.io.VarLenFeature(tf.float32) for name in BOX_FEATURES} if boxes else {}
    features = tf.io.parse_single_example(record, FEATURES | sides)
    objects = tf.stack([features[name].values for name in sides], axis=1) if boxes else None
    return features["image/encoded"], features["image/class/label"], objects


class _Batches:
    """Decodes the records of a plan, in order, on several threads."""

    def __init__(self, reader: RecordReader, plan: BatchPlan, options: InputOptions) -> None:
        self._reader, self._plan, self._options = reader, plan, options
        self._records = BatchRecords(reader, plan, options.max_queued_records)

    def generate(self) -> Generator[tuple[int, list[MicroBatch], set[int]], None, None]:
        """The number of each batch, its micro-batches, and those of its examples that are corrupt."""
        batches = iter(self._dataset())
        failure: Exception | None = None
        try:
            for number in self._plan.numbers:
                try:
                    batch = [next(batches) for _ in self._plan.bounds]
                except tf.errors.OpError as error:
                    failure = self._records.error or self._decode_error(number) or error.with_traceback(None)
                    break
                yield number, batch, self._records.take_corrupt(number)
        finally:
            # Ends TensorFlow's threads, which take records. An error with its traceback would hold the iterator, and a thread
            # that still takes records when Python ends keeps the process from ending.
            del batches
            self._records.close()
        if failure:
            raise failure

    def _dataset(self) -> Any:
        threads = self._options.num_threads
        options = tf.data.Options()
        # One thread an image: sums over an image then have one order of their terms, whatever the machine.
        options.threading.max_intra_op_parallelism = 1
        options.threading.private_threadpool_size = threads
        options.autotune.enabled = False  # every size is given, so that memory stays what it is
        return (
            tf.data.Dataset.range(0, len(self._plan.numbers), self._records.batches_per_read)
            .map(self._take_records)
            .prefetch(1)
            .unbatch()
            # No more than `threads` run; the others are done, and wait for an earlier one that takes longer.
            .map(self._decode, num_parallel_calls=2 * threads)
            .batch(self._plan.size)
            .prefetch(BATCHES_AHEAD)
            # A device that takes a batch in parts has no room for all of it.
            .flat_map(self._divide)
            .with_options(options)
            .apply(tf.data.experimental.prefetch_to_device(self._options.device, buffer_size=1))
        )

    def _divide(self, images: Any, labels: Any) -> Any:
        """A data set of the micro-batches of a batch."""
        bounds = tf.data.Dataset.from_tensor_slices(self._plan.bounds)
        return bounds.map(lambda bound: (images[bound[0] : bound[1]], labels[bound[0] : bound[1]]))

    def _take_records(self, first: Any) -> Any:
        """`BatchRecords.take` as a TensorFlow operation."""
        # It must not wait for the storage: it has one of the few threads that decode, so a thread of ours reads ahead.
        # stateful=False: a stateful op would make TensorFlow's deterministic mode run the whole pipeline serially.
        records, seeds = tf.numpy_function(self._records.take, [first], (tf.string, tf.int64), stateful=False)
        records.set_shape([None])
        seeds.set_shape([None, 2])
        return records, seeds

    def _decode(self, record: Any, seed: Any) -> tuple[Any, Any]:
        """The image and the label of a record."""
        options = self._options
        jpeg, label, boxes = parse(record, boxes=options.augmentation == "inception")
        return augment.training_image(jpeg, boxes, options.image_size, options.augmentation, seed), label

    def _decode_error(self, number: int) -> DataError | None:
        """The error about the first example of a batch that cannot be decoded; TensorFlow's does not say which it is."""
        for example, seed in zip(*self._plan.select(number), strict=True):
            try:
                with tf.device("CPU"):
                    self._decode(tf.constant(self._reader.read(example[np.newaxis])[0]), tf.constant(seed))
            except tf.errors.OpError as error:
                reason = str(error.message).partition("\n")[0]
                return DataError(
                    f"Cannot decode {self._reader.describe_record(int(example))} ({reason}): it needs an RGB JPEG, a label, "
                    f"and boxes within the image.",
                    "Build the data set again, with --overwrite.",
                )
        return None
