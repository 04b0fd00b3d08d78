"""Which images are for training and which for validation."""

import json
from pathlib import Path
from typing import Any

import pytest

from shardtune.builder.finalize import DUPLICATES_NAME
from shardtune.dataset.splits import SPLITS
from shardtune.errors import DataError
from tests.builder.builds import PER_CLASS, made, stored
from tests.pictures import plant


def test_validation_images_can_be_held_out(images: Path, tmp_path: Path) -> None:
    manifest = made(images, tmp_path / "data", validation_fraction=1 / 3)
    assert manifest.class_counts == {"train": [4, 4, 4], "validation": [2, 2, 2]}
    examples = stored(tmp_path / "data")
    names = [{example["image/path"] for example in examples[split]} for split in SPLITS]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 3 * PER_CLASS


@pytest.mark.parametrize(
    ("fraction", "held_out"), [(0.001, 1), (0.01, 1), (0.1, 12), (1 / 3, 40), (0.5, 60), (0.66, 79), (0.99, 80)]
)
def test_a_fraction_is_one_of_all_images(tmp_path: Path, fraction: float, held_out: int) -> None:
    classes = tuple(f"class-{number:02d}" for number in range(40))
    images = plant(tmp_path / "images", per_class=3, classes=classes)
    manifest = made(images, tmp_path / "data", validation_fraction=fraction)
    assert (manifest.examples("train"), manifest.examples("validation")) == (120 - held_out, held_out)
    assert min(manifest.class_counts["train"]) >= 1
    assert max(manifest.class_counts["validation"]) - min(manifest.class_counts["validation"]) <= 1


def test_classes_without_a_validation_image_are_reported(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(images, tmp_path / "a", validation_fraction=0.05)
    assert "Without a validation image: 2 of 3 classes (green, red)." in capsys.readouterr().out.splitlines()
    plant(tmp_path / "given", per_class=2, classes=("red",))
    (tmp_path / "given" / "green").mkdir()
    manifest = made(images, tmp_path / "b", validation_directory=tmp_path / "given")
    assert manifest.class_counts == {"train": [6, 6, 6], "validation": [0, 0, 2]}
    assert "Without a validation image: 2 of 3 classes (blue, green)." in capsys.readouterr().out.splitlines()
    made(images, tmp_path / "c")
    assert "Without a validation image" not in capsys.readouterr().out
    for path in (tmp_path / "given" / "red").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=f"No class folder in {tmp_path / 'given'} holds images"):
        made(images, tmp_path / "d", validation_directory=tmp_path / "given")


def test_validation_images_are_not_training_images(images: Path, tmp_path: Path) -> None:
    output = tmp_path / "data"
    (tmp_path / "link").symlink_to(images)
    for same in (images, tmp_path / "link"):
        with pytest.raises(DataError, match=rf"are the same directory, {images}\..*--validation_fraction"):
            made(images, output, validation_directory=same)
    plant(images / "held", per_class=1, seed=7)
    inside = rf"validation_directory {images}/held is inside the class held of train_directory {images}\. .*--ignore held"
    with pytest.raises(DataError, match=inside):
        made(images, output, validation_directory=images / "held")
    with pytest.raises(DataError, match=f"train_directory {images}/held is inside the class held of validation_directory"):
        made(images / "held", output, validation_directory=images)
    assert made(images, output, validation_directory=images / "held", ignore=("held",)).class_counts["validation"] == [1, 1, 1]


def test_identical_images_stay_in_one_split_and_are_reported(images: Path, tmp_path: Path) -> None:
    for number in range(5):
        (images / "red" / f"copy-{number}.jpg").write_bytes((images / "red" / "red-00.jpg").read_bytes())
    (images / "blue" / "stray.jpg").write_bytes((images / "green" / "green-01.jpg").read_bytes())
    manifest = made(images, tmp_path / "data", validation_examples=8)
    duplicates = manifest.provenance["duplicates"]
    assert duplicates == {"groups": 2, "images": 8, "groups_across_splits": 0, "groups_across_labels": 1}
    groups = [json.loads(line)["identical"] for line in (tmp_path / "data" / DUPLICATES_NAME).read_text().splitlines()]
    assert sorted(sorted(file["path"] for file in group) for group in groups) == [
        ["blue/stray.jpg", "green/green-01.jpg"],
        [*(f"red/copy-{number}.jpg" for number in range(5)), "red/red-00.jpg"],
    ]
    skipping = made(images, tmp_path / "skipping", validation_examples=8, duplicates="skip")
    assert (skipping.provenance["scanned"], skipping.provenance["written"], skipping.provenance["skipped"]) == (24, 18, 6)
    assert skipping.provenance["duplicates"] == duplicates


def test_a_training_image_that_is_a_validation_image_too(images: Path, tmp_path: Path) -> None:
    plant(tmp_path / "validation", per_class=2, seed=9)
    twin = tmp_path / "validation" / "red" / "twin.jpg"
    twin.write_bytes((images / "red" / "red-02.jpg").read_bytes())
    keeping = made(images, tmp_path / "keeping", validation_directory=tmp_path / "validation")
    assert keeping.provenance["duplicates"]["groups_across_splits"] == 1
    skipping = made(images, tmp_path / "skipping", validation_directory=tmp_path / "validation", duplicates="skip")
    assert skipping.class_counts == {"train": [6, 6, 5], "validation": [2, 2, 3]}


@pytest.mark.parametrize("options", [{"validation_fraction": 0.5}, {"validation_examples": 6}])
def test_a_class_of_one_image_is_only_trained_on(images: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    for path in sorted((images / "green").iterdir())[1:]:
        path.unlink()
    assert made(images, tmp_path / "data", **options).class_counts == {"train": [3, 1, 3], "validation": [3, 0, 3]}


def test_more_is_not_held_out_than_leaves_an_image_a_class(images: Path, tmp_path: Path) -> None:
    assert made(images, tmp_path / "a", validation_examples=15).class_counts == {"train": [1, 1, 1], "validation": [5, 5, 5]}
    with pytest.raises(
        DataError,
        match=r"validation_examples 16 is too many for the 18 images in 3 classes .* Give at most --validation_examples 15",
    ):
        made(images, tmp_path / "b", validation_examples=16)
