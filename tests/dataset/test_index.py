import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from shardtune.dataset.columns import load_record_index
from shardtune.dataset.index import FILE_STAMPS_NAME, INDEX_NAME, open_data_set
from shardtune.dataset.manifest import Manifest
from shardtune.errors import DataError
from shardtune.input.reader import RecordReader
from shardtune.runtime.world import World
from tests.records import by_tensorflow
from tests.research_inception import image_example


def old_example(label: int, text: bytes = b"") -> bytes:
    return image_example(label, text=text.decode()).SerializeToString()


def write_shard(path: Path, examples: Sequence[bytes]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)


TRAIN = [[1, 2, 4], [], [2, 1]]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of 2016: train shards with the labels of TRAIN, one of validation with 4, 4; no other file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "old"
    directory.mkdir()
    for number, labels in enumerate(TRAIN):
        write_shard(directory / f"train-{number:05d}-of-00003", [old_example(label) for label in labels])
    write_shard(directory / "validation-00000-of-00001", [old_example(4)] * 2)
    return directory


def test_shards_of_research_inception_are_opened_without_a_manifest(old: Path) -> None:
    manifest, records = open_data_set(old, World())
    assert manifest.labels == ["daisy", "rose", "3", "tulip"]
    assert manifest.class_counts == {"train": [2, 2, 0, 1], "validation": [0, 0, 0, 2]}
    assert [shard.examples for shard in manifest.splits["train"]] == [3, 0, 2]
    reader = RecordReader(old, manifest, "train", records["train"])
    assert reader.read(np.arange(5)) == [old_example(label) for labels in TRAIN for label in labels]
    validation = RecordReader(old, manifest, "validation", records["validation"])
    assert validation.read(np.arange(2)) == [old_example(4)] * 2


def test_a_test_split_of_another_tool_may_be_anything(old: Path, small_data: Path, tmp_path: Path) -> None:
    before = open_data_set(old, World())[0]
    write_shard(old / "test-00001-of-00002", [b"no example"])  # and one of two
    assert open_data_set(old, World())[0].sha256 == before.sha256
    copy = Path(shutil.copytree(small_data, tmp_path / "copy"))
    (copy / "test-00000-of-00010").touch()
    assert open_data_set(copy, World())[0] == Manifest.load(small_data)


def test_an_index_has_what_a_manifest_has(small_data: Path, tmp_path: Path) -> None:
    built = Manifest.load(small_data)
    copy = Path(shutil.copytree(small_data, tmp_path / "copy", ignore=lambda *_: ["dataset.json", "records.bin", ".shardtune"]))
    found, record_index = open_data_set(copy, World())
    assert (found.labels, found.splits, found.class_counts) == (built.labels, built.splits, built.class_counts)
    assert found.records_sha256 == built.records_sha256
    for split, expected in load_record_index(small_data, built).items():
        assert record_index[split].tolist() == expected.tolist()


def test_an_index_is_made_once(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_data_set(old, World())[0]
    assert sorted(path.name for path in (old / INDEX_NAME).iterdir()) == ["dataset.json", "files.json", "records.bin"]
    assert sorted(path.name for path in old.iterdir() if path.is_file()) == sorted(
        shard.name for shards in first.splits.values() for shard in shards
    )
    monkeypatch.setattr("shardtune.dataset.index._scan", None)
    assert open_data_set(old, World())[0] == first


def test_where_shards_cannot_be_written_to_their_index_is_cached(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (old / INDEX_NAME).write_text("a file, so that no folder can be made there")
    first, _ = open_data_set(old, World())
    (folder,) = (old.parent / "cache" / "shardtune").iterdir()
    assert (folder / FILE_STAMPS_NAME).exists()
    other = Path(shutil.copytree(old, old.parent / "other"))
    write_shard(other / "train-00001-of-00003", [old_example(1)])
    assert open_data_set(other, World())[0].examples("train") == 6  # another folder, another index
    monkeypatch.setattr("shardtune.dataset.index._scan", None)
    assert open_data_set(old, World())[0] == first


@pytest.mark.parametrize("name", ["dataset.json", "records.bin", FILE_STAMPS_NAME])
@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"[" * 10_000, None])
def test_a_damaged_index_is_made_again(old: Path, name: str, damage: bytes | None) -> None:
    first, _ = open_data_set(old, World())
    path = old / INDEX_NAME / name
    content = path.read_bytes()
    path.unlink() if damage is None else path.write_bytes(damage)
    assert open_data_set(old, World())[0] == first
    assert path.read_bytes() == content


def test_changed_shards_get_another_index(old: Path) -> None:
    before = open_data_set(old, World())[0]
    write_shard(old / "train-00001-of-00003", [old_example(2)])
    assert open_data_set(old, World())[0].examples("train") == 6
    shard = old / "train-00000-of-00003"  # same size and lengths: another text for label 4
    stat = shard.stat()
    write_shard(shard, [old_example(1), old_example(2), old_example(4, b"tulpe")])
    write_shard(old / "train-00001-of-00003", [])
    assert shard.stat().st_size == stat.st_size
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    after = open_data_set(old, World())[0]
    assert after.examples("train") == 5
    assert after.sha256 != before.sha256  # by which a run that resumes knows


def test_labels_txt_names_the_classes(old: Path) -> None:
    (old / "labels.txt").write_text("a\nb\n\nc\nd\ne\n")
    assert open_data_set(old, World())[0].labels == ["a", "b", "c", "d", "e"]
    (old / "labels.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"labels\.txt has 2 name\(s\), but records have label 4\. Add"):
        open_data_set(old, World())


def test_corrupt_records_are_left_to_the_reader(old: Path) -> None:
    path = old / "train-00000-of-00003"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    manifest, records = open_data_set(old, World())
    assert manifest.examples("train") == 5
    reader = RecordReader(old, manifest, "train", records["train"], "skip")
    assert reader.read(np.array([2])) == [old_example(2)]
    assert reader.corrupt == {2}


def test_shards_that_are_no_data_set_are_refused(old: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(DataError, match=words):
            open_data_set(old, World())

    path = old / "train-00002-of-00003"
    content = path.read_bytes()
    write_shard(path, [old_example(1), b"\xff\xff"])
    refused(rf"record at byte \d+ of {path} is not a tf\.train\.Example with .*\. Choose another data_dir")
    for labels, texts in (([b"red"], [b"red"]), ([1, 2], [b"red"]), ([1], [1]), ([1], [b"red", b"blue"])):
        features = {"image/class/label": labels, "image/class/text": texts}
        write_shard(path, [old_example(1), by_tensorflow(features).SerializeToString()])  # type: ignore[arg-type]
        refused(rf"record at byte \d+ of {path} is not a tf\.train\.Example .* \(image/class/.* is not one (number|text)\)\.")
    write_shard(path, [old_example(1), tf.train.Example().SerializeToString()])
    refused(rf"record at byte \d+ of {path} has no label\. Number the classes from 1 to \d+ in image/class/label")
    write_shard(path, [old_example(0, b"x")])
    refused(r"has label 0\. Number the classes from 1")
    path.write_bytes(content[:-1])
    refused(rf"record at byte \d+ of {path} is damaged: the file ends within it\. Restore")
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    refused(rf"record at byte 0 of {path} is damaged: the CRC of its length does not match\. Restore")
    path.unlink()
    refused(rf"{old}/train-00002-of-00003 is missing: the train split has 3 shards\. Restore")
    path.write_bytes(content)
    (old / "train-00000-of-00009").write_bytes(b"")
    refused(rf"{old}/train-00000-of-00009 does not belong to the other train shards\. Keep")
    (old / "train-00000-of-00009").unlink()
    (old / ".shardtune").mkdir()
    refused(rf"{old} has no dataset\.json: its build has not finished\. Run the same shardtune build again")


def test_a_folder_without_shards_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json does not exist\. Run shardtune build first"):
        open_data_set(tmp_path, World())
