"""Shards of a finished data set that are lost or damaged."""

import os
from pathlib import Path

import pytest

from shardtune.builder.receipts import RECEIPTS_NAME
from shardtune.dataset.manifest import MANIFEST_NAME, WORK_NAME
from shardtune.errors import DataError
from tests.builder.builds import made
from tests.faults.reference import identities
from tests.images.image_files import BROKEN_EXIF, RGB
from tests.pictures import encoded
from tests.records import contents, fields, records

NAME = "train-00001-of-00003"


def flip(path: Path) -> None:
    """Change a bit of a file, which keeps its size."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage(path: Path, how: str) -> None:
    if how == "lost":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        flip(path)


def change_in_place(path: Path) -> None:
    """Change an image so that a build takes it for the same; done twice, it is as before."""
    content, time = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    os.utime(path, ns=(time, time))


@pytest.mark.parametrize("how", ["lost", "cut", "flipped"])
@pytest.mark.parametrize("receipt", [True, False])
def test_a_damaged_shard_is_written_again_and_no_other(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, receipt: bool
) -> None:
    (images / "red" / "bad.jpg").write_bytes(b"no image")
    data, options = tmp_path / "data", {"max_rejects": 1, "validation_fraction": 0.2}
    made(images, data, **options)
    before = contents(data)
    others = identities(data, before.keys() - {NAME})
    damage(data / NAME, how)
    if not receipt:
        (data / WORK_NAME / RECEIPTS_NAME / f"{NAME}.json").unlink()
    made(images, data, **options)
    assert contents(data) == before
    assert identities(data, before.keys() - {NAME}) == others  # the manifest is not written again either
    said = capsys.readouterr().out
    assert f"The data set in {data} was finished before, but lost {NAME}: writing them again." in said
    assert f"Repaired: {NAME}, with the digests in {MANIFEST_NAME}." in said
    made(images, data, **options)
    assert "was finished before: nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["lost", "flipped"])
def test_a_shard_of_an_image_that_has_changed_stays_as_it_is(images: Path, tmp_path: Path, how: str) -> None:
    data = tmp_path / "data"
    made(images, data)
    path = images / fields(records(data, "train")[0])["image/path"].decode()
    name = "train-00000-of-00003"
    change_in_place(path)
    damage(data / name, how)
    before = contents(data)
    with pytest.raises(DataError, match=rf"{name} \({path} has another content than when it was built\)"):
        made(images, data)
    assert contents(data) == before
    assert not list((data / WORK_NAME).glob("train-*"))
    change_in_place(path)
    assert made(images, data).examples("train") == 18


def test_shards_and_other_files_are_repaired_together(images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made(images, data, validation_fraction=0.2)
    before = contents(data)
    kept = identities(data, ["train-00000-of-00003", "train-00002-of-00003"])
    for name in (NAME, "validation-00000-of-00002", "records.bin", "labels.txt"):
        (data / name).unlink()
    made(images, data, validation_fraction=0.2)
    assert contents(data) == before
    assert identities(data, kept) == kept


def test_a_copied_data_set_is_compared_and_kept(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    made(images, data)
    for path in data.glob("train-*"):
        path.touch()  # as if it was copied after the manifest
    before = identities(data, contents(data))
    made(images, data)
    assert "was finished before: nothing to do" in capsys.readouterr().out
    assert identities(data, contents(data)) == before


BESIDE = ["labels.txt", "records.bin", "labels.bin", "rejects.jsonl", "duplicates.jsonl"]


@pytest.fixture
def built(images: Path, tmp_path: Path) -> Path:
    """A data set with an image that was rejected and two that are identical."""
    (images / "red" / "broken.jpg").write_bytes(b"no image")
    (images / "red" / "copy.jpg").write_bytes((images / "red" / "red-00.jpg").read_bytes())
    made(images, tmp_path / "data", max_rejects=1)
    return tmp_path / "data"


@pytest.mark.parametrize("broken", ["is there", "was removed"])
@pytest.mark.parametrize("name", BESIDE)
def test_what_is_lost_beside_the_shards_is_restored_without_a_build(images: Path, built: Path, name: str, broken: str) -> None:
    before, others = contents(built), identities(built, contents(built).keys() - {name})
    (built / name).unlink()
    if broken == "was removed":
        (images / "red" / "broken.jpg").unlink()
    made(images, built)  # without --max_rejects
    assert contents(built) == before
    assert identities(built, others) == others


@pytest.mark.parametrize("name", BESIDE)
def test_a_shard_without_a_receipt_is_never_replaced_by_another(images: Path, built: Path, name: str) -> None:
    before, shard = contents(built), "train-00000-of-00003"
    changed = images / fields(records(built, "train")[0])["image/path"].decode()
    receipt = built / WORK_NAME / RECEIPTS_NAME / f"{shard}.json"
    (built / name).unlink()
    receipt.unlink()
    change_in_place(changed)
    if name in ("labels.txt", "records.bin"):  # for which no image is needed
        made(images, built)
        assert contents(built) == before
        return
    with pytest.raises(DataError, match=rf"{shard} \(its receipt is lost, so which image has changed is not known\)"):
        made(images, built)
    assert contents(built) == {path: content for path, content in before.items() if path != name}
    change_in_place(changed)
    made(images, built)
    assert contents(built) == before
    assert receipt.exists()


def test_a_report_that_would_be_another_is_not_written(images: Path, built: Path) -> None:
    before = contents(built)
    (built / "rejects.jsonl").unlink()
    (built / "labels.txt").unlink()
    for path in (built / WORK_NAME / RECEIPTS_NAME).iterdir():
        path.unlink()
    (images / "red" / "broken.jpg").unlink()
    with pytest.raises(DataError, match=r"cannot be written again with the digests in dataset\.json: rejects\.jsonl\."):
        made(images, built)
    assert contents(built) == {name: content for name, content in before.items() if name != "rejects.jsonl"}


def test_warnings_about_odd_metadata_end_neither_a_build_nor_a_repair(images: Path, tmp_path: Path) -> None:
    (images / "red" / "odd.jpg").write_bytes(encoded(RGB, exif=BROKEN_EXIF))  # in tests, Pillow's warnings are errors
    data = tmp_path / "data"
    made(images, data, train_shards=1)
    before = contents(data)
    damage(data / "train-00000-of-00001", "lost")
    made(images, data, train_shards=1)
    assert contents(data) == before
