"""What the pipelines of a rank, or of all together, hand out."""

import zlib
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.input.pipeline import InputOptions, evaluation_batches, training_batches
from shardtune.input.reader import RecordReader
from shardtune.runtime.world import World

SIZE = 16
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def options_of(**changes: Any) -> InputOptions:
    return InputOptions(**{"image_size": SIZE, "num_threads": 2, "augmentation": "light", "seed": 3} | changes)


def trained_on(
    reader: RecordReader, steps: int, rank: int = 0, ranks: int = 1, *, size: int, first_step: int = 0, **options: Any
) -> list[Batch]:
    """A rank's parts of `steps` global batches of `size`."""
    world = World(rank, ranks, rank, ranks)
    batches = training_batches(reader, world, options_of(**options), global_batch_size=size, first_step=first_step)
    return [(images.numpy(), labels.numpy()) for [(images, labels)], _ in islice(batches, steps)]


def trained_on_together(reader: RecordReader, steps: int, ranks: int, **options: Any) -> list[list[tuple[int, int]]]:
    """Of each step, label and checksum of each image, of one rank after the other."""
    parts = [trained_on(reader, steps, rank, ranks, **options) for rank in range(ranks)]
    assert {len(part) for part in parts} == {steps}
    return [[seen for batch in step for seen in labels_and_checksums(batch)] for step in zip(*parts, strict=True)]


def labels_and_checksums(batch: Batch) -> list[tuple[int, int]]:
    return [(label, zlib.crc32(image.tobytes())) for image, label in zip(batch[0], batch[1].tolist(), strict=True)]


def evaluated(reader: RecordReader, rank: int, ranks: int, batch_size: int, examples: int) -> list[list[tuple[int, int]]]:
    world = World(rank, ranks, rank, ranks)
    options = options_of(augmentation="none")
    batches = evaluation_batches(reader, world, options, batch_size=batch_size, examples=examples)
    return [labels_and_checksums((images.numpy(), labels.numpy())) for _, images, labels in batches]
