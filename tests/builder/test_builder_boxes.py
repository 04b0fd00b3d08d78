"""Bounding boxes in the shards of a build."""

from pathlib import Path

import pytest
import tensorflow as tf

from shardtune.dataset.example import decode_example, source_path
from shardtune.dataset.splits import SPLITS
from shardtune.errors import DataError
from tests.builder.builds import made
from tests.pictures import plant
from tests.records import records


def test_bounding_boxes_are_stored_with_their_image(images: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("red/red-03.jpg,0.25,0,0.5,1\nblue-00,0,0,1,1,green\nred-03,0,0.5,1,0.75\n")
    made(images, tmp_path / "data", bounding_box_file=tmp_path / "boxes.csv", validation_fraction=0.34)
    found = {}
    for record in (record for split in SPLITS for record in records(tmp_path / "data", split)):
        features = tf.train.Example.FromString(record).features.feature
        boxes = {name.rpartition("/")[2]: features[name] for name in features if "bbox" in name}
        if boxes:
            found[features["image/path"].bytes_list.value[0]] = {
                key: list(value.float_list.value or value.int64_list.value) for key, value in boxes.items()
            }
    assert found == {
        b"red/red-03.jpg": {"xmin": [0.25, 0], "xmax": [0.5, 1], "ymin": [0, 0.5], "ymax": [1, 0.75], "label": [3, 3]},
        b"blue/blue-00.jpg": {"xmin": [0], "xmax": [1], "ymin": [0], "ymax": [1], "label": [2]},
    }
    (tmp_path / "boxes.csv").write_text("red/red-03.jpg,0.25,0,0.5,1\n")
    with pytest.raises(DataError, match="bounding_boxes_sha256 was"):
        made(images, tmp_path / "data", bounding_box_file=tmp_path / "boxes.csv", validation_fraction=0.34)


def test_boxes_of_skipped_images_are_stored_with_the_identical_one(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("red/b.jpg", "red/c.jpg", "green/d.jpg"):  # of which and red-00.jpg one is stored
        (images / name).write_bytes((images / "red" / "red-00.jpg").read_bytes())
    for name in ("blue/x.jpg", "blue/y.jpg"):
        (images / name).write_bytes(b"no image")
    (tmp_path / "boxes.csv").write_text(
        "red-00,0,0,0.5,1\nred/b,0,0,0.25,1\nred/b,0,0,0.5,1,red\nred/c,0,0,0.5,1\ngreen/d,0,0,0.5,1\n"
        "blue-00,0,0,1,1\nblue-00,0,0,1,1\nblue/x,0,0,1,1\nblue/y,0,0.5,1,1\n"
    )
    options = {"bounding_box_file": tmp_path / "boxes.csv", "max_rejects": 2}
    for duplicates, counts in (
        ("keep", {"given": 9, "stored": 7, "moved": 0, "repeated": 0, "rejected": 2}),
        # Of the identical images, three different boxes: a narrow one, and one for each class. Of the two bad ones, two.
        ("skip", {"given": 9, "stored": 5, "moved": 3, "repeated": 2, "rejected": 2}),
    ):
        data = tmp_path / duplicates
        assert made(images, data, duplicates=duplicates, **options).provenance["boxes"] == counts
        stored_boxes = []
        for record in records(data, "train"):
            features = decode_example(record)
            sides = (features.get(f"image/object/bbox/{part}", []) for part in ("xmax", "label"))
            stored_boxes += [(source_path(features).split("/")[0], *box) for box in zip(*sides, strict=True)]
        assert len(stored_boxes) == counts["stored"]
        assert {box[1:] for box in stored_boxes} == {(1.0, 1), (0.5, 3), (0.25, 3), (0.5, 2)}
    assert "Boxes of images that were skipped: 3 are stored with the identical image, 2 equal one that it has." in (
        capsys.readouterr().out.splitlines()
    )


def test_boxes_go_to_the_identical_image_of_the_other_split_alone(images: Path, tmp_path: Path) -> None:
    plant(tmp_path / "validation", per_class=1, classes=("red",), seed=9)
    (tmp_path / "validation" / "red" / "red-03.jpg").write_bytes((images / "red" / "red-02.jpg").read_bytes())
    (tmp_path / "boxes.csv").write_text("red-02,0,0,0.5,1\n")
    options = {"bounding_box_file": tmp_path / "boxes.csv", "validation_directory": tmp_path / "validation"}
    made(images, tmp_path / "data", duplicates="skip", **options)
    boxed = {
        (split, source_path(decode_example(record)))
        for split in SPLITS
        for record in records(tmp_path / "data", split)
        if "image/object/bbox/label" in decode_example(record)
    }
    assert boxed == {("validation", "red/red-03.jpg")}  # and not the training image of that name
