import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.dataset.columns import load_record_index
from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import SPLITS, Split
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, frame
from shardtune.errors import DataError
from shardtune.input import reader as module
from tests.input.shards import corrupt, reader_of, write
from tests.records import records


@pytest.fixture
def copy(small_data: Path, tmp_path: Path) -> Path:
    """A data directory that a test may damage."""
    return Path(shutil.copytree(small_data, tmp_path / "copy"))


@pytest.mark.parametrize("split", SPLITS)
def test_records_are_those_that_tensorflow_reads_in_their_order(small_data: Path, split: Split) -> None:
    reader = reader_of(small_data, split)
    expected = records(small_data, split)
    assert len(reader) == len(expected) == sum(reader.shard_sizes)
    assert reader.read(np.arange(len(reader))) == expected
    assert reader.read(np.array([], np.int64)) == []


@given(st.lists(st.integers(0, 59), max_size=80))
def test_any_records_come_in_the_order_asked_for(small_data: Path, indices: list[int]) -> None:
    expected = records(small_data, "train")
    assert reader_of(small_data).read(np.array(indices, np.int64)) == [expected[index] for index in indices]


def test_empty_shards_are_passed_over(tmp_path: Path) -> None:
    reader = reader_of(write(tmp_path, [0, 3, 0, 0, 2, 0]))
    assert reader.read(np.arange(5)) == records(tmp_path, "train")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all reads from now on, on a file system that cannot tell what memory holds."""
    pread, sizes = os.pread, list[int]()

    def counted(file: int, size: int, start: int) -> bytes:
        sizes.append(size)
        return pread(file, size, start)

    def refused(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "pread", counted)
    monkeypatch.setattr(os, "preadv", refused)
    return sizes


def test_neighbours_are_read_at_once(small_data: Path, monkeypatch: pytest.MonkeyPatch, reads: list[int]) -> None:
    reader = reader_of(small_data)
    wholes = [shard.bytes for shard in Manifest.load(small_data).splits["train"]]
    reader.read(np.random.default_rng(0).permutation(60))
    assert sorted(reads) == sorted(wholes)
    reads.clear()
    reader.read(np.array([0, reader.shard_sizes[0] - 1]))  # the gap is smaller than MAX_GAP_BYTES
    assert reads == wholes[:1]
    monkeypatch.setattr(module, "MAX_GAP_BYTES", 0)
    reads.clear()
    assert reader.shard_sizes[0] > 4
    reader.read(np.array([2, 1, 4]))
    assert len(reads) == 2
    monkeypatch.setattr(module, "MAX_READ_BYTES", 1)
    reads.clear()
    reader.read(np.arange(60))
    assert len(reads) == 60


@pytest.mark.parametrize(("shard_number", "record"), [(0, 0), (0, -1), (1, 0), (-1, -1)])
def test_every_flipped_byte_is_found_and_named(copy: Path, shard_number: int, record: int) -> None:
    manifest = Manifest.load(copy)
    reader, skipping = reader_of(copy), reader_of(copy, on_corrupt="skip")
    index = int(np.split(np.arange(60), np.cumsum(reader.shard_sizes)[:-1])[shard_number][record])
    following = records(copy, "train")[(index + 1) % 60]
    starts = load_record_index(copy, manifest)["train"]["start"]
    shard = copy / manifest.splits["train"][shard_number].name
    start = int(starts[index])
    end = shard.stat().st_size if record == -1 else int(starts[index + 1])
    file = os.open(shard, os.O_RDWR)
    for position in range(start, end):
        (byte,) = os.pread(file, 1, position)
        os.pwrite(file, bytes([byte ^ 1 << position % 8]), position)
        with pytest.raises(
            DataError, match=f"Corrupt record {index} of its split, at byte {start} of {shard}: .*does not match"
        ):
            reader.read(np.array([index]))
        assert skipping.read(np.array([index])) == [following]
        os.pwrite(file, bytes([byte]), position)
    os.close(file)
    assert reader.read(np.array([index])) == records(copy, "train")[index : index + 1]
    assert skipping.corrupt == {index}


def test_damage_in_one_record_leaves_its_neighbours_readable(copy: Path, small_data: Path) -> None:
    corrupt(copy, [7])
    assert reader_of(copy).read(np.array([6, 8])) == [records(small_data, "train")[i] for i in (6, 8)]


def test_skipped_records_are_replaced_by_the_next_valid_one_and_counted(tmp_path: Path) -> None:
    expected = records(write(tmp_path, [4, 2, 4]), "train")
    corrupt(tmp_path, [1, 4, 5, 9])
    reader = reader_of(tmp_path, on_corrupt="skip")
    assert reader.read(np.array([9, 5, 4, 0, 1, 9])) == [expected[i] for i in (0, 6, 6, 0, 2, 0)]
    assert reader.corrupt == {1, 4, 5, 9}


def test_a_damaged_shard_is_not_read_again_for_each_of_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[int]
) -> None:
    expected = records(write(tmp_path, [30, 2]), "train")
    path = tmp_path / "train-00000-of-00002"
    path.write_bytes(bytes(path.stat().st_size))  # a disk that gives zeros
    monkeypatch.setattr(module, "MAX_READ_BYTES", 1)
    reader = reader_of(tmp_path, on_corrupt="skip")
    assert reader.read(np.arange(30)) == expected[30:31] * 30
    assert len(reads) == 60  # each record once, and what stands for each once


def test_skipping_ends_where_all_records_are_corrupt(tmp_path: Path) -> None:
    corrupt(write(tmp_path, [2, 1]), [0, 1, 2])
    with pytest.raises(DataError, match=f"All 3 record.* of the train split of {tmp_path} are corrupt"):
        reader_of(tmp_path, on_corrupt="skip").read(np.array([1]))


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_a_missing_or_resized_shard_is_found_at_once(copy: Path, on_corrupt: str) -> None:
    path = copy / Manifest.load(copy).splits["validation"][1].name
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"\0", b""):
        path.write_bytes(damaged)
        with pytest.raises(
            DataError, match=f"{path} is not the shard of {len(content)} bytes in its manifest: it has {len(damaged)} bytes"
        ):
            reader_of(copy, "validation", on_corrupt)
    path.unlink()
    with pytest.raises(DataError, match=f"{path} is not the shard of {len(content)} bytes in its manifest: it is missing"):
        reader_of(copy, "validation", on_corrupt)


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_another_shard_of_the_same_size_is_no_corrupt_record(tmp_path: Path, on_corrupt: str) -> None:
    path = write(tmp_path, [3]) / "train-00000-of-00001"
    reader = reader_of(tmp_path, on_corrupt=on_corrupt)
    first, second, third = np.split(
        np.frombuffer(path.read_bytes(), np.uint8), load_record_index(tmp_path, Manifest.load(tmp_path))["train"]["start"][1:]
    )
    assert len(first) != len(third)
    path.write_bytes(b"".join(part.tobytes() for part in (third, second, first)))
    with pytest.raises(DataError, match=f"{path} is not the shard .*: its record at byte 0 has another length. Restore"):
        reader.read(np.array([0]))


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_another_record_of_the_same_length_is_no_corrupt_record(copy: Path, on_corrupt: str) -> None:
    reader = reader_of(copy, on_corrupt=on_corrupt)
    expected = reader.read(np.arange(60))
    path = copy / Manifest.load(copy).splits["train"][1].name
    second = reader.shard_sizes[0] + 1  # the second record of the second shard
    start, end = (int(start) for start in load_record_index(copy, Manifest.load(copy))["train"]["start"][second : second + 2])
    content = path.read_bytes()
    data = bytearray(content[start + HEADER_BYTES : end - FOOTER_BYTES])
    data[-1] ^= 1
    path.write_bytes(content[:start] + frame(bytes(data)) + content[end:])
    with pytest.raises(DataError, match=f"{path} is not the shard .*: its record at byte {start} is a different one. Restore"):
        reader.read(np.array([second]))
    assert reader.read(np.array([second - 1, second + 1])) == [expected[second - 1], expected[second + 1]]


@pytest.mark.parametrize("on_corrupt", ["error", "skip"])
def test_a_shard_that_shrinks_while_it_is_open_is_found(tmp_path: Path, on_corrupt: str) -> None:
    path = write(tmp_path, [5]) / "train-00000-of-00001"
    reader = reader_of(tmp_path, on_corrupt=on_corrupt)
    reader.read(np.array([0]))
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DataError, match=f"{path} is not the shard .*: its record at byte .* has another length"):
        reader.read(np.array([4]))
