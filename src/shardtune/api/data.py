"""The examples of a data set for training loops of one's own."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shardtune.api.job import job
from shardtune.config import Augmentation, check_flags, check_types
from shardtune.dataset.index import open_data_set
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.input.reader import RecordReader
from shardtune.runtime.devices import cores_per_rank
from shardtune.runtime.world import World

if TYPE_CHECKING:
    from shardtune.runtime.frameworks import tf

Arrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def load_dataset(
    data_dir: Path | str,
    split: Split = "train",
    *,
    batch_size: int = 32,
    image_size: int = 299,
    augment: Augmentation = "none",
    shuffle: bool | None = None,
    seed: int = 0,
    first_step: int = 0,
) -> "tf.data.Dataset":
    """The examples of a split as a `tf.data.Dataset` of batches, decoded and augmented as `train` and `evaluate` do it.

    Each element has images, float32 [n, image_size, image_size, 3] in −1 to 1, and labels, int64 [n]: 1 for the first class; 0
    is the background, so a network has one output more than there are classes.

    Behind a launcher, call it on all processes: each gets its part of every batch of all.

    Args:
        data_dir: a data directory, also one that another tool wrote for research/inception.
        batch_size: examples of a batch, on each process.
        augment: "inception", "light", or "none": the central crop that evaluation sees.
        shuffle: True: in random order, without end, batch by batch what `train` with this `seed` sees. False: each example
            once, in the order of the data set. By default the training split is shuffled.
        seed: of the order and of the augmentation; at least 0.
        first_step: where shuffled batches begin: with those of this step of `train`, from 0.

    Raises:
        DataError: there is no such data set, or the split is empty. A damaged record is found while the dataset is iterated: a
            `tf.errors.OpError` then has the message. `load_arrays` raises the DataError itself.
        UsageError: an argument is not possible.
        WorldError: the processes do not find each other.
    """
    from shardtune.runtime.frameworks import tf

    options = _Options(split, batch_size, image_size, augment, shuffle, seed, first_step)
    batches = _open(Path(data_dir), options)
    signature = (tf.TensorSpec([None, image_size, image_size, 3], tf.float32), tf.TensorSpec([None], tf.int64))
    dataset = tf.data.Dataset.from_generator(batches.arrays, output_signature=signature)
    length = tf.data.INFINITE_CARDINALITY if batches.count is None else batches.count
    return dataset.apply(tf.data.experimental.assert_cardinality(length)).prefetch(1)


def load_arrays(
    data_dir: Path | str,
    split: Split = "train",
    *,
    batch_size: int = 32,
    image_size: int = 299,
    augment: Augmentation = "none",
    shuffle: bool | None = None,
    seed: int = 0,
    first_step: int = 0,
) -> Iterator[Arrays]:
    """The batches of `load_dataset` as NumPy arrays. TensorFlow decodes them.

    Raises:
        DataError: as `load_dataset`; while it yields: a record is damaged.
        UsageError, WorldError: as `load_dataset`.
    """
    options = _Options(split, batch_size, image_size, augment, shuffle, seed, first_step)
    return _open(Path(data_dir), options).arrays()


@dataclass(frozen=True)
class _Options:
    """Arguments of `load_dataset`."""

    split: Split
    batch_size: int
    image_size: int
    augment: Augmentation
    shuffle: bool | None
    seed: int
    first_step: int

    def __post_init__(self) -> None:
        check_types(self, prefix="")
        for name, least in (("batch_size", 1), ("image_size", 1), ("seed", 0), ("first_step", 0)):
            value = getattr(self, name)
            check_flags(value >= least, f"{name} must be at least {least}, not {value}.", "")

    @property
    def is_shuffled(self) -> bool:
        return self.split == "train" if self.shuffle is None else self.shuffle


@dataclass(frozen=True)
class _Batches:
    """The batches of this process.

    Attributes:
        open_reader: opens what is read. TensorFlow never forgets the batches of a dataset, so they hold no reader.
        count: how many there are; None: no end of them.
        threads: that decode images.
    """

    open_reader: Callable[[], RecordReader]
    count: int | None
    world: World
    options: _Options
    threads: int

    def arrays(self) -> Iterator[Arrays]:
        """Images and labels of each."""
        from shardtune.input.pipeline import InputOptions, evaluation_batches, training_batches

        wanted, world, reader = self.options, self.world, self.open_reader()
        options = InputOptions(wanted.image_size, self.threads, wanted.augment, wanted.seed)
        if wanted.is_shuffled:
            size = wanted.batch_size * world.size
            shuffled = training_batches(reader, world, options, global_batch_size=size, first_step=wanted.first_step)
            with closing(shuffled):
                for [(images, labels)], _ in shuffled:
                    yield images.numpy(), labels.numpy()
            return
        ordered = evaluation_batches(reader, world, options, batch_size=wanted.batch_size, examples=len(reader))
        with closing(ordered):
            for _, images, labels in ordered:
                yield images.numpy(), labels.numpy()


def _open(data_dir: Path, options: _Options) -> _Batches:
    split = options.split
    with job("horovod", options) as world:
        manifest, records = world.broadcast_from_root(lambda: open_data_set(data_dir, world))
        if not manifest.examples(split):
            raise DataError(f"The {split} split of {data_dir} is empty.", "Choose another split, or build the data set again.")
        open_reader = partial(RecordReader, data_dir, manifest, split, records[split])
        examples = len(open_reader())  # and all shards are there
        count = None if options.is_shuffled else -(-examples // (options.batch_size * world.size))
        own = (socket.gethostname(), os.sched_getaffinity(0))
        affinities = [cores for host, cores in world.allgather(own) if host == own[0]]
        threads = cores_per_rank(affinities, own[1])
        return _Batches(open_reader, count, world, options, threads)
