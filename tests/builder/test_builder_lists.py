"""Builds of the images that a list names."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shardtune.dataset.manifest import Manifest
from shardtune.errors import DataError
from tests.builder.builds import made, stored
from tests.pictures import plant
from tests.records import contents


def listed(path: Path, rows: list[tuple[str, ...]], header: str = "path,label") -> Path:
    """A CSV file."""
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def rows_of(directory: Path, *columns: str, prefix: str = "") -> list[tuple[str, ...]]:
    """Path, label and other columns of each image in folders of classes."""
    return [(f"{prefix}{path.relative_to(directory)}", path.parent.name, *columns) for path in sorted(directory.rglob("*.jpg"))]


def digests(directory: Path) -> dict[str, list[str]]:
    manifest = Manifest.load(directory)
    return {split: [shard.sha256 for shard in shards] for split, shards in manifest.splits.items()}


@pytest.mark.parametrize("options", [{}, {"validation_fraction": 0.2, "duplicates": "skip"}, {"seed": 3, "test_fraction": 0.2}])
def test_a_list_of_what_is_in_folders_gives_the_same_data_set(images: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    made(images, tmp_path / "folders", **options)
    file = listed(images / "list.csv", list(reversed(rows_of(images))))
    made(None, tmp_path / "listed", list=file, **options)
    assert contents(tmp_path / "listed") == contents(tmp_path / "folders")


def test_a_list_has_splits_and_another_root(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "train": images,
        "validation": plant(tmp_path / "val", per_class=2, seed=1),
        "test": plant(tmp_path / "t", per_class=1, seed=2),
    }
    rows = [row for split, folder in given.items() for row in rows_of(folder, split, "7", prefix=f"{folder.name}/")]
    file = listed(tmp_path / "list.csv", rows, "Image,Class,Subset,width")
    (tmp_path / "elsewhere").mkdir()
    file = file.rename(tmp_path / "elsewhere" / "list.csv")
    manifest = made(None, tmp_path / "data", list=file, image_root=tmp_path)
    assert manifest.class_counts == {"train": [6] * 3, "validation": [2] * 3, "test": [1] * 3}
    for split, folder in given.items():
        for example in stored(tmp_path / "data")[split]:
            path = tmp_path / example["image/path"].decode()
            assert path.is_relative_to(folder)
            assert example["image/encoded"] == path.read_bytes()
            assert example["image/class/text"].decode() == path.parent.name
    words = "path from 'Image', label from 'Class', split from 'Subset'; ignored: 'width'."
    assert f"{file}: 27 images, {words}" in capsys.readouterr().out.splitlines()


def test_paths_may_be_absolute_or_lead_outside(images: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    outside = [(f"../images/{path}", label) for path, label in rows_of(images)][:9]
    absolute = rows_of(images, prefix=f"{images}/")[9:]
    made(None, tmp_path / "data", list=listed(tmp_path / "lists" / "list.csv", outside + absolute))
    found = {example["image/path"].decode() for example in stored(tmp_path / "data")["train"]}
    assert found == {path for path, _ in outside + absolute}


def test_every_line_that_names_no_image_is_named(images: Path, tmp_path: Path) -> None:
    os.mkfifo(images / "pipe.jpg")
    good = rows_of(images)
    wrong = [("nowhere.jpg", "red"), ("red", "red"), ("./" + good[0][0], "red"), (f"{good[0][0]}/x", "red"), (good[1][0], "")]
    file = listed(images / "list.csv", good + wrong)
    with pytest.raises(DataError) as error:
        made(None, tmp_path / "data", list=file)
    lines = [f"line {len(good) + 2 + number}: " for number in range(5)]
    assert error.value.message == (
        f"{file} has 5 wrong line(s): {lines[4]}no label, {lines[0]}'nowhere.jpg' is no file, {lines[1]}'red' is a directory, "
        f"{lines[3]}'{wrong[3][0]}' is no file, {lines[2]}'{good[0][0]}' is in line 2 already."
    )
    assert f"relative to {images}: --image_root" in error.value.advice
    assert not (tmp_path / "data").exists()


def test_a_file_is_listed_once_whatever_its_path_looks_like(images: Path, tmp_path: Path) -> None:
    good = [(*row, "train") for row in rows_of(images)]
    (images / "linked").symlink_to("blue")
    others = ["red/../blue/blue-00.jpg", f"{images}/blue/blue-00.jpg", "linked/blue-00.jpg"]
    file = listed(images / "list.csv", [*good, *((path, "blue", "test") for path in others)], "path,label,split")
    with pytest.raises(DataError) as error:
        made(None, tmp_path / "data", list=file)
    problems = (
        f"line {number}: {path!r} is in line 2 already, as 'blue/blue-00.jpg'" for number, path in enumerate(others, 20)
    )
    assert error.value.message == f"{file} has 3 wrong line(s): {', '.join(problems)}."


def test_files_that_a_file_system_numbers_alike_are_files_of_their_own(images: Path, tmp_path: Path) -> None:
    # Hard links have one inode; some network file systems give it to files that have nothing in common.
    (images / "blue" / "link.jpg").hardlink_to(images / "blue" / "blue-00.jpg")
    file = listed(images / "list.csv", rows_of(images))
    assert made(None, tmp_path / "data", list=file).examples("train") == 19


def test_a_labels_file_orders_the_classes_of_a_list(images: Path, tmp_path: Path) -> None:
    file = listed(images / "list.csv", rows_of(images))
    (tmp_path / "labels").write_text("red\nblue\n")
    options = {"list": file, "labels_file": tmp_path / "labels"}
    with pytest.raises(DataError, match=r"6 wrong line\(s\): line 8: the label 'green' is not in "):
        made(None, tmp_path / "data", **options)
    (images / "green" / "green-00.jpg").unlink()  # need not be there
    manifest = made(None, tmp_path / "data", **options, ignore_unlisted=True)
    assert (manifest.labels, manifest.class_counts["train"]) == (["red", "blue"], [6, 6])
    listed(file, rows_of(images))
    (tmp_path / "labels").write_text("red\nblue\ngreen\nviolet\n")
    with pytest.raises(DataError, match=r"lists no training image of 1 of 4 classes \(first violet\)"):
        made(None, tmp_path / "other", **options)


def test_a_list_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lists no image"):
        made(None, tmp_path / "data", list=listed(tmp_path / "list.csv", []))
    with pytest.raises(DataError, match=r"cannot be read: .*No such file"):
        made(None, tmp_path / "data", list=tmp_path / "nowhere.csv")
    (tmp_path / "excel.csv").write_text("path,label\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"cannot be read: .*Give a CSV, TSV or JSON lines file in UTF-8"):
        made(None, tmp_path / "data", list=tmp_path / "excel.csv")


def test_a_class_that_is_only_in_validation_is_an_error(images: Path, tmp_path: Path) -> None:
    rows = [(path, label, "val" if label == "red" else "train") for path, label in rows_of(images)]
    with pytest.raises(DataError, match=r"lists no training image of 1 of 3 classes \(first red\)"):
        made(None, tmp_path / "data", list=listed(images / "list.csv", rows, "path,label,split"))


@pytest.mark.parametrize("option", [{"validation_fraction": 0.2}, {"validation_examples": 2}, {"test_fraction": 0.1}])
def test_a_split_is_not_both_listed_and_held_out(images: Path, tmp_path: Path, option: dict[str, Any]) -> None:
    split = "test" if "test_fraction" in option else "validation"
    rows = [(path, label, split if "-00" in path else "train") for path, label in rows_of(images)]
    with pytest.raises(DataError, match=f"says which images are for {split}, and a flag holds out others"):
        made(None, tmp_path / "data", list=listed(images / "list.csv", rows, "path,label,split"), **option)


def test_the_groups_of_a_list_stay_together(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(path, label, path[-5]) for path, label in rows_of(images)]  # six groups of three, one image of each class
    file = listed(images / "list.csv", rows, "path,label,group")
    manifest = made(None, tmp_path / "data", list=file, validation_fraction=0.3)
    assert manifest.class_counts == {"train": [4] * 3, "validation": [2] * 3}
    groups = {split: {each["image/path"].decode()[-5] for each in rows} for split, rows in stored(tmp_path / "data").items()}
    assert not groups["train"] & groups["validation"]
    assert "Groups: 6, of 3 to 3 images; 4 in train (66.7% of the images), 2 in validation (33.3%" in capsys.readouterr().out
    made(None, tmp_path / "data", list=file, validation_fraction=0.3)
    with pytest.raises(DataError, match="names groups, and --group_by others"):
        made(None, tmp_path / "data", list=file, validation_fraction=0.3, group_by="([0-9])")
    listed(file, [(path, label, "x" if group == "1" else group) for path, label, group in rows], "path,label,group")
    with pytest.raises(DataError, match=r"holds a build of other input \(train images of blue changed"):
        made(None, tmp_path / "data", list=file, validation_fraction=0.3)


def test_a_list_of_json_lines(images: Path, tmp_path: Path) -> None:
    made(None, tmp_path / "csv", list=listed(images / "list.csv", rows_of(images)))
    lines = [json.dumps({"file_name": path, "label": label}) for path, label in rows_of(images)]
    (images / "metadata.jsonl").write_text("\n".join(lines))
    made(None, tmp_path / "json", list=images / "metadata.jsonl")
    assert digests(tmp_path / "json") == digests(tmp_path / "csv")


def test_a_list_may_come_from_a_pipe(images: Path, tmp_path: Path) -> None:
    file = listed(images / "list.csv", rows_of(images))
    script = f"{sys.executable} -m shardtune build --list <(cat {file}) --image_root {images}"
    subprocess.run(["bash", "-c", f"{script} --output_directory {tmp_path / 'data'} --train_shards 3"], check=True)
    made(None, tmp_path / "other", list=images / "list.csv")
    assert digests(tmp_path / "data")["train"] == digests(tmp_path / "other")["train"]
