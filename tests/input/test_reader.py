import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from shardtune.dataset.manifest import SPLITS, Manifest, Split, read_offsets
from shardtune.errors import DataError
from shardtune.input.reader import RecordReader
from tests.records import records


@pytest.fixture
def copy(small_data: Path, tmp_path: Path) -> Path:
    """A data directory that a test may damage."""
    return Path(shutil.copytree(small_data, tmp_path / "copy"))


@pytest.mark.parametrize("split", SPLITS)
def test_records_are_those_that_tensorflow_reads_in_their_order(small_data: Path, split: Split) -> None:
    reader = RecordReader(small_data, Manifest.load(small_data), split)
    expected = records(small_data, split)
    assert len(reader) == len(expected)
    assert reader.read(np.arange(len(reader))) == expected
    some = np.array([3, 20, 0, 3, 19])
    assert reader.read(some) == [expected[index] for index in some]


@pytest.mark.parametrize("index", [0, 14, 15, 59])  # first and last of the first shard, first of the second, last of all
def test_every_flipped_byte_is_found_and_named(copy: Path, index: int) -> None:
    manifest = Manifest.load(copy)
    reader = RecordReader(copy, manifest, "train")
    starts = read_offsets(copy, manifest)["train"]
    shard = copy / manifest.splits["train"][index // 15].name
    start = int(starts[index])
    end = shard.stat().st_size if index % 15 == 14 else int(starts[index + 1])
    file = os.open(shard, os.O_RDWR)
    for position in range(start, end):
        (byte,) = os.pread(file, 1, position)
        os.pwrite(file, bytes([byte ^ 0x40]), position)
        with pytest.raises(DataError, match=f"in record {index} of its split, at byte {start} of {shard}, .*does not match"):
            reader.read(np.array([index]))
        os.pwrite(file, bytes([byte]), position)
    os.close(file)
    assert reader.read(np.array([index])) == records(copy, "train")[index : index + 1]


def test_damage_in_one_record_leaves_its_neighbours_readable(copy: Path, small_data: Path) -> None:
    manifest = Manifest.load(copy)
    start = int(read_offsets(copy, manifest)["train"][7])
    path = copy / manifest.splits["train"][0].name
    content = bytearray(path.read_bytes())
    content[start + 20] ^= 1
    path.write_bytes(content)
    assert RecordReader(copy, manifest, "train").read(np.array([6, 8])) == [records(small_data, "train")[i] for i in (6, 8)]


def test_a_missing_or_resized_shard_is_found_at_once(copy: Path) -> None:
    manifest = Manifest.load(copy)
    path = copy / manifest.splits["validation"][1].name
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"\0", b""):
        path.write_bytes(damaged)
        with pytest.raises(
            DataError, match=f"{path} has {len(content)} bytes by its manifest, but it has {len(damaged)} bytes"
        ):
            RecordReader(copy, manifest, "validation")
    path.unlink()
    with pytest.raises(DataError, match=f"{path} has {len(content)} bytes by its manifest, but it is missing"):
        RecordReader(copy, manifest, "validation")


def test_swapped_shards_are_found(copy: Path) -> None:
    manifest = Manifest.load(copy)
    first, second = (copy / shard.name for shard in manifest.splits["train"][:2])
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    with pytest.raises(DataError, match="by its manifest, but it has"):
        RecordReader(copy, manifest, "train")
