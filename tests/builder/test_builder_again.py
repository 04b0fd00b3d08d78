"""A build where there is one already, finished or not: of the same input, or of another."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from shardtune.builder.receipts import RECEIPTS_NAME
from shardtune.dataset.manifest import MANIFEST_NAME, WORK_NAME
from shardtune.errors import DataError
from shardtune.inspect.config import VerifyConfig
from shardtune.inspect.verify import verify
from shardtune.runtime.world import World
from tests.builder.builds import made, order_of
from tests.old_data import before_label_column
from tests.records import contents, fields, records
from tests.schema1 import downgrade


def test_a_finished_data_set_is_replaced_only_with_overwrite(images: Path, tmp_path: Path) -> None:
    made(images, tmp_path / "data", train_shards=5)
    before = contents(tmp_path / "data")
    with pytest.raises(DataError, match=r"a build of other input \(train_shards was 5, is 3; seed was 0, is 1\)"):
        made(images, tmp_path / "data", seed=1)
    assert before == contents(tmp_path / "data")
    made(images, tmp_path / "data", seed=1, overwrite=True)
    made(images, tmp_path / "other", seed=1)
    assert contents(tmp_path / "data") == contents(tmp_path / "other")


def test_a_finished_data_set_is_not_built_again(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made(images, tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir() if path.is_file()}
    assert made(images, tmp_path / "data") == first
    assert "was finished before: nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir() if path.is_file()}


@pytest.mark.parametrize("finished", [True, False])
def test_an_image_that_changed_but_not_in_size_is_noticed(images: Path, tmp_path: Path, finished: bool) -> None:
    order = order_of(images)
    rejected, changed = images / order[-1], images / order[0]  # whose shard is finished when the last image is rejected
    if not finished:
        rejected.write_bytes(b"")
        with pytest.raises(DataError, match="--max_rejects"):
            made(images, tmp_path / "data")
    else:
        made(images, tmp_path / "data")
    before, time = contents(tmp_path / "data"), changed.stat().st_mtime_ns
    content = bytearray(changed.read_bytes())
    content[-10] ^= 1
    changed.write_bytes(content)
    os.utime(changed, ns=(time, time + 1_000_000_000))
    with pytest.raises(DataError, match=rf"a build of other input \(.*{changed.name}"):
        made(images, tmp_path / "data", max_rejects=1)
    assert contents(tmp_path / "data") == before


LOST = ["labels.txt", "records.bin", "labels.bin", "rejects.jsonl", "duplicates.jsonl", "dataset.json", "train-00001-of-00003"]


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("damage", [None, b"", b"{}\n"])
def test_a_finished_data_set_that_lost_a_file_gets_it_back(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: bytes | None
) -> None:
    (images / "red" / "bad.jpg").write_bytes(b"no image")
    (images / "red" / "copy.jpg").write_bytes((images / "red" / "red-00.jpg").read_bytes())
    data = tmp_path / "data"
    made(images, data, max_rejects=1)
    before, shards = contents(data), {path: path.stat().st_ino for path in data.glob("train-*")}
    (data / name).unlink() if damage is None else (data / name).write_bytes(damage)
    made(images, data, max_rejects=1)
    is_reported = f"was finished before, but lost {name}: writing them again." in capsys.readouterr().out
    assert is_reported or (name, damage) == (MANIFEST_NAME, None)  # without a manifest, it is not finished
    assert contents(data) == before
    shards.pop(data / name, None)
    assert all(path.stat().st_ino == number for path, number in shards.items())  # those that were whole are kept
    made(images, data, max_rejects=1)
    assert "was finished before: nothing to do" in capsys.readouterr().out


def test_a_finished_data_set_from_before_labels_bin_stays_as_it_is(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    made(images, data)
    before_label_column(data)
    before = contents(data)
    verify(VerifyConfig(data), World())
    made(images, data)
    assert "was finished before: nothing to do" in capsys.readouterr().out
    for name in ("records.bin", "train-00001-of-00003"):
        (data / name).unlink()
    made(images, data)
    assert contents(data) == before


def retime(directory: Path) -> None:
    """Give every file below `directory` another time, as a copy of it has."""
    for path in directory.rglob("*.jpg"):
        os.utime(path, (1, 1), follow_symlinks=False)


def interrupt(data: Path) -> None:
    """Make a finished data set one whose build was stopped before its last shard."""
    (data / MANIFEST_NAME).unlink()
    (data / "train-00002-of-00003").unlink()


@pytest.mark.parametrize("options", [{}, {"duplicates": "skip", "validation_examples": 4}])
@pytest.mark.parametrize("finished", [True, False])
def test_a_copy_of_the_images_is_the_same_input(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], finished: bool
) -> None:
    (images / "red" / "dangling.jpg").symlink_to("nowhere")
    (images / "red" / "empty.jpg").write_bytes(b"")
    (images / "red" / "copy.jpg").write_bytes((images / "red" / "red-00.jpg").read_bytes())
    data, options = tmp_path / "data", {"max_rejects": 2, **options}
    made(images, data, **options)
    before, inode = contents(data), (data / "train-00000-of-00003").stat().st_ino
    copy = Path(shutil.copytree(images, tmp_path / "copy", symlinks=True, copy_function=shutil.copyfile))
    retime(copy)
    if not finished:
        interrupt(data)
    capsys.readouterr()
    made(copy, data, **options)
    assert ("was finished before: nothing to do" in capsys.readouterr().out) == finished
    assert contents(data) == before
    assert (data / "train-00000-of-00003").stat().st_ino == inode
    made(copy, data, **options)
    assert "was finished before: nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"validation_examples": 4}])
@pytest.mark.parametrize("finished", [True, False])
def test_a_changed_image_is_noticed_whatever_its_size(
    images: Path, tmp_path: Path, options: dict[str, Any], finished: bool
) -> None:
    data = tmp_path / "data"
    made(images, data, **options)
    before = contents(data)
    example = fields(records(data, "train")[0])
    path = images / example["image/path"].decode()
    if not finished:
        interrupt(data)
        del before[MANIFEST_NAME], before["train-00002-of-00003"]
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    retime(images)
    with pytest.raises(DataError, match=rf"a build of other input \({path} has another content\)\. Restore that"):
        made(images, data, **options)
    assert contents(data) == before
    path.write_bytes(content)
    assert sum(made(images, data, **options).class_counts["train"]) == 18 - options.get("validation_examples", 0)
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    made(images, data, **options, overwrite=True)
    assert contents(data) != before


def test_images_with_other_times_are_refused_if_there_is_no_receipt(images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made(images, data)
    (data / WORK_NAME / RECEIPTS_NAME / "train-00001-of-00003.json").unlink()
    retime(images)
    with pytest.raises(DataError, match="the images of train-00001-of-00003 have other times"):
        made(images, data)


def test_a_finished_data_set_of_schema_1_is_replaced_only_with_overwrite(images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made(images, data, validation_examples=4)
    downgrade(data)
    before = contents(data)
    for changes in ({}, {"seed": 1}):
        with pytest.raises(DataError, match=rf"^{data} holds a data set without a record of .* pass --overwrite"):
            made(images, data, validation_examples=4, **changes)
        assert contents(data) == before
    made(images, data, validation_examples=4, overwrite=True)
    made(images, tmp_path / "other", validation_examples=4)
    assert contents(data) == contents(tmp_path / "other")
