"""Records that cannot be read or decoded: named, or replaced alike on any number of ranks."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.dataset.columns import RECORD_DTYPE, save_record_index
from shardtune.dataset.example import encode_example
from shardtune.dataset.manifest import Manifest, Shard
from shardtune.dataset.splits import SPLITS, Split
from shardtune.dataset.tfrecord import frame, stored_crc
from shardtune.errors import DataError
from shardtune.input.order import global_batch
from shardtune.input.pipeline import training_batches
from shardtune.runtime.world import World
from tests.input.batches import evaluated, options_of, trained_on, trained_on_together
from tests.input.shards import corrupt, reader_of, write
from tests.pictures import encoded, picture


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_skipped_records_are_replaced_alike_on_any_number_of_ranks(tmp_path: Path, ranks: int) -> None:
    bad, steps, size = [0, 4, 5, 12], 6, 6
    corrupt(write(tmp_path, [5, 3, 5]), bad)
    replaced = {0: 1, 4: 6, 5: 6, 12: 1}
    reader = reader_of(tmp_path, on_corrupt="skip")
    seen = trained_on_together(reader, steps, ranks, size=size)
    order = [global_batch(reader.shard_sizes, 3, step, size)[0].tolist() for step in range(steps)]
    assert [[label - 1 for label, _ in step] for step in seen] == [[replaced.get(i, i) for i in step] for step in order]
    assert seen == trained_on_together(reader_of(tmp_path, on_corrupt="skip"), steps, 1, size=size)
    assert reader.corrupt == set(bad)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_leaves_corrupt_records_out_of_their_batches(tmp_path: Path, ranks: int) -> None:
    bad = [1, 6, 7, 8]
    corrupt(write(tmp_path, [5, 5, 1], "validation"), bad, "validation")
    reader = reader_of(tmp_path, "validation", "skip")
    parts = [evaluated(reader, rank, ranks, 3, 11) for rank in range(ranks)]
    batches = sorted([label - 1 for label, _ in batch] for part in parts for batch in part if batch)
    assert batches == [[0, 2], [3, 4, 5], [9, 10]]  # and none for 6, 7, 8
    assert len({len(part) for part in parts}) == 1  # ranks go through them together


def test_a_split_without_a_valid_record_is_an_error(tmp_path: Path) -> None:
    corrupt(write(tmp_path, [2, 1], "validation"), [0, 1, 2], "validation")
    with pytest.raises(DataError, match=f"All 3 record.* of the validation split of {tmp_path} are corrupt"):
        evaluated(reader_of(tmp_path, "validation", "skip"), 0, 1, 3, 3)


def test_corrupt_records_are_counted_when_they_are_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corrupt(write(tmp_path, [5, 3, 5]), [0, 4, 5, 12])
    for records_per_read in (1, 512):  # records that are read ahead are not counted
        monkeypatch.setattr("shardtune.input.batch_records.RECORDS_PER_READ", records_per_read)
        reader = reader_of(tmp_path, on_corrupt="skip")
        batches = training_batches(reader, World(), options_of(augmentation="none"), global_batch_size=2, first_step=0)
        reported = [found for _, found in islice(batches, 6)]
        assert reported == [set(global_batch(reader.shard_sizes, 3, step, 2)[0].tolist()) & {0, 4, 5, 12} for step in range(6)]


def test_a_corrupt_record_is_reported_in_place_of_the_batch_that_it_is_in(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardtune.input.batch_records.RECORDS_PER_READ", 2)
    copy = Path(shutil.copytree(small, tmp_path / "copy"))
    order = global_batch((5, 3, 6), 3, 0, 14)[0].tolist()
    for position in range(14):
        corrupt(copy, order[position : position + 1])
        with pytest.raises(DataError, match=rf"Corrupt record {order[position]} of its split, at byte \d+ of {copy}"):
            trained_on(reader_of(copy), 7, size=2)
        assert len(trained_on(reader_of(copy), position // 2, size=2)) == position // 2
        corrupt(copy, order[position : position + 1])  # repaired


@pytest.mark.parametrize("split", SPLITS[:2])  # that data set has no test split
def test_both_pipelines_report_corrupt_records(small_data: Path, tmp_path: Path, split: Split) -> None:
    copy = Path(shutil.copytree(small_data, tmp_path / "copy"))
    corrupt(copy, [20], split)
    reader = reader_of(copy, split)
    with pytest.raises(DataError, match=r"Corrupt record 20 of its split, at byte \d+ of .*: the CRC of its data"):
        trained_on(reader, 8, size=8) if split == "train" else evaluated(reader, 0, 1, 8, 21)


def test_a_shard_that_cannot_be_read_is_what_the_system_says_it_is(tmp_path: Path) -> None:
    reader = reader_of(write(tmp_path, [2, 2]))
    (tmp_path / "train-00001-of-00002").unlink()
    with pytest.raises(FileNotFoundError, match="train-00001-of-00002"):
        trained_on(reader, 1, size=4)


BOX = {f"image/object/bbox/{side}": [value] for side, value in (("ymin", 0.0), ("xmin", 0.0), ("ymax", 2.0), ("xmax", 1.0))}
JPEG = encoded(picture(np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"image/encoded": [JPEG]}, "image/class/label"),
        ({"image/encoded": [b"no jpeg"], "image/class/label": [1]}, "JPEG"),
        ({"image/encoded": [JPEG[:-200]], "image/class/label": [1]}, "JPEG"),
        ({"image/encoded": [JPEG], "image/class/label": [1], **BOX}, "box"),
    ],
)
def test_a_record_without_an_image_is_named(tmp_path: Path, features: dict[str, Any], words: str) -> None:
    sound = encode_example({"image/encoded": [JPEG], "image/class/label": [1]})
    first, second = frame(sound), frame(encode_example(features))
    content = first + second
    write(tmp_path, [1])
    (tmp_path / "train-00000-of-00001").write_bytes(content)
    digest = save_record_index(tmp_path, np.array([(0, stored_crc(first)), (len(first), stored_crc(second))], RECORD_DTYPE))
    entry = Shard("train-00000-of-00001", 2, len(content), "")
    Manifest(["a"], {"train": [entry], "validation": []}, {"train": [2], "validation": [0]}, digest, {}).save(tmp_path)
    with pytest.raises(
        DataError,
        match=rf"Cannot decode record 1 of its split, at byte {len(first)} of .* \(.*{words}.*\): it needs an RGB JPEG",
    ):
        trained_on(reader_of(tmp_path), 1, size=2, augmentation="inception")
