import shutil
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from shardtune.dataset.manifest import Manifest, Split
from shardtune.errors import DataError
from shardtune.input.order import global_batch
from shardtune.input.pipeline import evaluation_batches, training_batches
from shardtune.input.reader import RecordReader
from shardtune.world import World
from tests.records import fields, records

SIZE = 32
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def reader_of(directory: Path, split: Split) -> RecordReader:
    return RecordReader(directory, Manifest.load(directory), split)


def trained_on(
    directory: Path,
    rank: int,
    ranks: int,
    batch_size: int,
    steps: int,
    *,
    first_step: int = 0,
    seed: int = 3,
    threads: int = 2,
    augmentation: Literal["light", "none"] = "light",
) -> list[Batch]:
    batches = training_batches(
        reader_of(directory, "train"),
        World(rank, ranks, rank, ranks),
        batch_size=batch_size,
        image_size=SIZE,
        augmentation=augmentation,
        seed=seed,
        first_step=first_step,
        threads=threads,
    )
    return [(images.numpy(), labels.numpy()) for images, labels in islice(batches, steps)]


def evaluated(directory: Path, rank: int, ranks: int, batch_size: int, examples: int) -> list[Batch]:
    reader, world = reader_of(directory, "validation"), World(rank, ranks, rank, ranks)
    batches = evaluation_batches(reader, world, batch_size=batch_size, image_size=SIZE, examples=examples, threads=2)
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def as_bytes(batches: list[Batch]) -> list[tuple[bytes, bytes]]:
    """For comparing to the last bit, in order."""
    return [(images.tobytes(), labels.tobytes()) for images, labels in batches]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_together_see_what_one_rank_sees(small_data: Path, ranks: int) -> None:
    steps, size = 6, 12  # 72 examples: beyond the first epoch of 60
    alone = trained_on(small_data, 0, 1, size, steps)
    parts = [trained_on(small_data, rank, ranks, size // ranks, steps) for rank in range(ranks)]
    together = [tuple(np.concatenate(column) for column in zip(*step, strict=True)) for step in zip(*parts, strict=True)]
    assert as_bytes(together) == as_bytes(alone)  # type: ignore[arg-type]


def test_batches_hold_the_examples_of_the_global_order(small_data: Path) -> None:
    labels = [fields(record)["image/class/label"] for record in records(small_data, "train")]
    for step, (images, found) in enumerate(trained_on(small_data, 0, 1, 7, 10)):
        assert images.shape == (7, SIZE, SIZE, 3)
        assert images.dtype == np.float32
        assert found.tolist() == [labels[index] for index in global_batch(60, 3, step, 7)[0]]


@pytest.mark.parametrize("first_step", [0, 1, 4, 5, 6])
def test_a_resumed_run_sees_the_identical_remainder(small_data: Path, first_step: int) -> None:
    whole = trained_on(small_data, 1, 2, 7, 7)
    rest = trained_on(small_data, 1, 2, 7, 7 - first_step, first_step=first_step, threads=1)
    assert as_bytes(rest) == as_bytes(whole)[first_step:]


def test_seed_and_epoch_change_what_is_seen(small_data: Path) -> None:
    first = trained_on(small_data, 0, 1, 60, 2)
    assert as_bytes(first) != as_bytes(trained_on(small_data, 0, 1, 60, 2, seed=4))
    epochs = [{image.tobytes() for image in images} for images, _ in first]
    assert not epochs[0] & epochs[1]  # the same photographs, each augmented anew
    plain = trained_on(small_data, 0, 1, 60, 2, augmentation="none")
    epochs = [{image.tobytes() for image in images} for images, _ in plain]
    assert epochs[0] == epochs[1]
    assert len(epochs[0]) == 60


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize(("batch_size", "examples"), [(8, 21), (7, 21), (4, 10), (50, 21), (1, 2)])
def test_evaluation_sees_each_example_once_in_the_same_batches(
    small_data: Path, ranks: int, batch_size: int, examples: int
) -> None:
    expected = [fields(record)["image/class/label"] for record in records(small_data, "validation")][:examples]
    alone = evaluated(small_data, 0, 1, batch_size, examples)
    assert [label for _, labels in alone for label in labels] == expected
    parts = [evaluated(small_data, rank, ranks, batch_size, examples) for rank in range(ranks)]
    assert sum(map(len, parts)) == len(alone) == -(-examples // batch_size)
    dealt = [parts[number % ranks][number // ranks] for number in range(len(alone))]
    assert as_bytes(dealt) == as_bytes(alone)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_corrupted_record_ends_in_our_error_with_its_place(small_data: Path, tmp_path: Path, split: Split) -> None:
    copy = Path(shutil.copytree(small_data, tmp_path / "copy"))
    shard = copy / Manifest.load(copy).splits[split][1].name
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    def go_through() -> Any:
        return trained_on(copy, 0, 1, 8, 8) if split == "train" else evaluated(copy, 0, 1, 8, 21)

    with pytest.raises(DataError, match=rf"in record \d+ of its split, at byte \d+ of {shard}, the CRC of its data"):
        go_through()
