"""Which folders are classes, what they are called, and where shards may not be."""

from pathlib import Path

import pytest

from shardtune.dataset.manifest import LABELS_NAME
from shardtune.errors import DataError
from tests.builder.builds import PER_CLASS, made, stored
from tests.pictures import plant
from tests.records import contents


def test_a_labels_file_numbers_the_classes(images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("red\nblue\ngreen\n")
    manifest = made(images, tmp_path / "data", labels_file=tmp_path / "labels")
    assert manifest.labels == ["red", "blue", "green"]
    assert (tmp_path / "data" / LABELS_NAME).read_text() == "red\nblue\ngreen\n"
    numbers = {(e["image/class/text"], e["image/class/label"]) for e in stored(tmp_path / "data")["train"]}
    assert numbers == {(b"red", 1), (b"blue", 2), (b"green", 3)}


def test_folders_that_are_no_classes_are_an_error(images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("red\nblue\n")
    with pytest.raises(DataError, match="has folders that are no class: green"):
        made(images, tmp_path / "data", labels_file=tmp_path / "labels")
    plant(tmp_path / "validation", per_class=1, classes=("blue", "red", "violet"))
    with pytest.raises(DataError, match=f"{tmp_path / 'validation'} has folders that are no class: violet"):
        made(images, tmp_path / "data", validation_directory=tmp_path / "validation")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("inside", ["data", "red/data", "../images/data"])
def test_shards_among_the_folders_of_images_are_an_error(images: Path, inside: str) -> None:
    with pytest.raises(DataError, match=f"output_directory {images / inside} is inside a directory of images"):
        made(images, images / inside)
    made(images, images)  # shards beside the folders are in nobody's way, this time and next time
    made(images, images)


def test_folders_of_splits_are_not_taken_for_classes(images: Path, tmp_path: Path) -> None:
    output, root = tmp_path / "data", tmp_path / "root"
    plant(root / "Train", per_class=2)
    with pytest.raises(DataError, match=f"shardtune build --train_directory {root}/Train --output_directory {output}"):
        made(root, output)
    plant(root / "val", per_class=1, seed=1)
    plant(root / "test", per_class=1, seed=2)
    meant = f"shardtune build --train_directory {root}/Train --validation_directory {root}/val --test_directory {root}/test "
    with pytest.raises(DataError, match=meant):
        made(root, output)
    (tmp_path / "labels").write_text("Train\nval\ntest\n")
    assert made(root, output, labels_file=tmp_path / "labels").class_counts["train"] == [6, 3, 3]
    plant(tmp_path / "toys", per_class=1, classes=("train", "test"))  # images of trains
    assert made(tmp_path / "toys", tmp_path / "other").labels == ["test", "train"]


def test_shards_in_a_folder_that_a_class_leads_to_are_an_error(images: Path, tmp_path: Path) -> None:
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm" / "red").symlink_to(images / "red")
    with pytest.raises(DataError, match="is inside a directory of images"):
        made(tmp_path / "farm", images / "red" / "data")


def test_what_is_ignored_is_reported_and_part_of_the_recipe(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "red" / "Thumbs.db").write_bytes(b"x")
    (images / "__MACOSX").mkdir()
    manifest = made(images, tmp_path / "data", ignore=("red-0[0-2]*", "gr*/*-05.jpg"))
    assert manifest.class_counts["train"] == [6, 5, 3]
    assert "Ignored: 1 Thumbs.db, 1 __MACOSX, 1 gr*/*-05.jpg, 3 red-0[0-2]*." in capsys.readouterr().out
    with pytest.raises(DataError, match="ignore was"):
        made(images, tmp_path / "data")
    (images / "red" / "Thumbs.db").unlink()
    assert made(images, tmp_path / "data", ignore=("red-0[0-2]*", "gr*/*-05.jpg")) == manifest  # junk is no other input
    made(images, tmp_path / "again", ignore=("red-0[0-2]*", "gr*/*-05.jpg"))
    assert contents(tmp_path / "again") == contents(tmp_path / "data")


def test_names_may_be_composed_or_not(images: Path, tmp_path: Path) -> None:
    composed, decomposed = "G\u00e4nse", "Ga\u0308nse"
    (images / "red").rename(images / decomposed)
    plant(tmp_path / "validation", per_class=1, classes=("blue", "green", f"{composed} "), seed=5)
    (tmp_path / "labels").write_text(f"{composed}\ngreen\nblue\n")
    options = {"labels_file": tmp_path / "labels", "validation_directory": tmp_path / "validation"}
    manifest = made(images, tmp_path / "data", **options)
    assert (manifest.labels, manifest.class_counts["validation"]) == ([composed, "green", "blue"], [1, 1, 1])
    paths = {e["image/path"].decode() for e in stored(tmp_path / "data")["train"] if e["image/class/text"] == composed.encode()}
    assert {(images / path).is_file() for path in paths} == {True}
    assert len(paths) == PER_CLASS


def test_unlisted_folders_can_be_left_out(images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("red\nblue\n")
    assert made(images, tmp_path / "data", labels_file=tmp_path / "labels", ignore_unlisted=True).labels == ["red", "blue"]
