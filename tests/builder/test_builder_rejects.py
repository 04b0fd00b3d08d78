"""Images that cannot be stored: which are left out, and when that ends a build."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shardtune.builder.finalize import REJECTS_NAME
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.errors import DataError
from tests.builder.builds import made, order_of, stored
from tests.pictures import CLASSES, plant
from tests.records import contents

DAMAGE = {"empty": b"", "unsupported": b"<html>not found</html>", "truncated": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"}


# Positions in the order of the data set of 18: the first and last of all, of a shard, neighbours, and a whole shard.
@pytest.mark.parametrize("positions", [[0], [17], [0, 17], [5, 6], [0, 1, 2, 3, 4, 5], [1, 7, 16], list(range(12, 18))])
def test_damaged_images_are_left_out_and_no_other(images: Path, tmp_path: Path, positions: list[int]) -> None:
    order = order_of(images)
    reasons = {order[p]: list(DAMAGE)[i % len(DAMAGE)] for i, p in enumerate(positions)}
    for path, reason in reasons.items():
        (images / path).write_bytes(DAMAGE[reason])
    # What is on disk decides the order only by its path, so damage moves no other image.
    manifest = made(images, tmp_path / "data", max_rejects=len(positions))
    examples = stored(tmp_path / "data")["train"]
    assert [example["image/path"].decode() for example in examples] == [path for path in order if path not in reasons]
    for example in examples:
        path = example["image/path"].decode()
        assert example["image/encoded"] == (images / path).read_bytes()
        assert example["image/class/label"] == 1 + CLASSES.index(path.split("/")[0])
    rejects = [json.loads(line) for line in (tmp_path / "data" / REJECTS_NAME).read_text().splitlines()]
    assert {reject["path"]: reject["reason"] for reject in rejects} == reasons
    assert manifest.provenance["scanned"] == len(order) == len(examples) + len(rejects)
    assert manifest.provenance["rejected"] == dict(sorted(Counter(reasons.values()).items()))
    sizes = Counter(example["image/class/label"] for example in examples).values()
    assert manifest.provenance["imbalance"] == round(max(sizes) / min(sizes), 4)


def test_one_damaged_image_is_too_many_unless_allowed(images: Path, tmp_path: Path) -> None:
    (images / "red" / "red-03.jpg").write_bytes(b"")
    output = tmp_path / "data"
    with pytest.raises(
        DataError, match=r"^1 image\(s\) .*, but --max_rejects is 0 \(first red/red-03\.jpg: empty.*higher --max_rejects"
    ):
        made(images, output)
    assert not (output / MANIFEST_NAME).exists()
    reject = json.loads((output / REJECTS_NAME).read_text())
    assert reject == {"split": "train", "path": "red/red-03.jpg", "reason": "empty", "detail": "the file has no bytes"}
    # What the failed build left is no obstacle.
    assert made(images, output, max_rejects=1).provenance["written"] == 17


@pytest.mark.parametrize("options", [{}, {"duplicates": "skip"}, {"validation_fraction": 0.2}])
def test_names_that_are_no_text_are_rejected_all_at_once(images: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    copy = (images / "red" / "red-00.jpg").read_bytes()
    for name in (b"caf\xe9.jpg", b"a-copy\xff.jpg", b"sub\xe9/1.jpg"):
        path = images / "red" / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(copy)
    with pytest.raises(DataError, match=r"first red/.*\\x.*: name, the name is not UTF-8: rename it"):
        made(images, tmp_path / "data", **options)
    manifest = made(images, tmp_path / "data", max_rejects=3, **options)
    assert (manifest.provenance["written"], manifest.provenance["rejected"]) == (18, {"name": 3})
    rejects = [json.loads(line) for line in (tmp_path / "data" / REJECTS_NAME).read_text().splitlines()]
    assert {reject["path"] for reject in rejects} == {r"red/caf\xe9.jpg", r"red/a-copy\xff.jpg", r"red/sub\xe9/1.jpg"}


def test_too_many_rejects_end_a_build_at_once(images: Path, tmp_path: Path) -> None:
    order = order_of(images)
    for position in (0, 3, 17):
        (images / order[position]).write_bytes(b"")
    with pytest.raises(DataError, match=rf"^1 image\(s\) .* --max_rejects is 0 \(first {order[0]}"):
        made(images, tmp_path / "data", train_shards=6)
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith("train")]
    assert [json.loads(line)["path"] for line in (tmp_path / "data" / REJECTS_NAME).read_text().splitlines()] == [order[0]]


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"validation_fraction": 0.34}, {"validation_examples": 5, "duplicates": "skip"}, {"duplicates": "skip"}],
)
def test_rejected_images_may_be_repaired_or_removed(
    images: Path, tmp_path: Path, options: dict[str, Any], repair: bool
) -> None:
    order, output = order_of(images), tmp_path / "data"
    other = (plant(tmp_path / "reserve", per_class=1, seed=8) / "red" / "red-00.jpg").read_bytes()
    for position, content in {1: b"text", 6: b"same text", 7: b"same text", 12: b"", 16: b"GIF89a"}.items():
        (images / order[position]).write_bytes(content)
    attempts = 0
    while attempts < 5 and not (output / MANIFEST_NAME).exists():
        attempts += 1
        try:
            made(images, output, train_shards=6, max_rejects=1, **options)
        except DataError as error:
            if not str(error).startswith("2 image(s) cannot be stored, but --max_rejects is 1 (first "):
                raise
            for line in (output / REJECTS_NAME).read_text().splitlines():
                path = images / json.loads(line)["path"]
                path.unlink()
                if repair:
                    path.write_bytes(other + path.name.encode())
    assert attempts == 3  # two are reported each time, and one is allowed
    made(images, tmp_path / "fresh", train_shards=6, max_rejects=1, **options)
    assert contents(output) == contents(tmp_path / "fresh")


def test_a_shard_that_rejected_what_is_gone_is_not_written_again(images: Path, tmp_path: Path) -> None:
    order, output = order_of(images), tmp_path / "data"
    for position in (0, 17):
        (images / order[position]).write_bytes(b"")
    with pytest.raises(DataError, match="--max_rejects is 1"):
        made(images, output, max_rejects=1)
    first = output / "train-00000-of-00003"
    written = first.stat().st_ino, first.stat().st_mtime_ns
    (images / order[0]).unlink()
    (images / order[17]).unlink()
    made(images, output)
    assert written == (first.stat().st_ino, first.stat().st_mtime_ns)
    made(images, tmp_path / "fresh")
    assert contents(output) == contents(tmp_path / "fresh")
    (images / order[1]).unlink()
    with pytest.raises(DataError, match="a build of other input"):
        made(images, output)


def test_a_class_whose_images_are_all_rejected_is_an_error(images: Path, tmp_path: Path) -> None:
    for path in (images / "green").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="The class green has no image to train on, because all were rejected or skipped"):
        made(images, tmp_path / "data", max_rejects=100)
    assert not (tmp_path / "data" / MANIFEST_NAME).exists()


def test_small_images_are_left_out_and_metadata_too(images: Path, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x013B] = "Ada"
    picture = Image.new("RGB", (60, 60), "red")
    picture.save(images / "red" / "large.jpg", exif=tags.tobytes(), quality=90)
    picture.resize((60, 20)).save(images / "red" / "small.jpg")
    options = {"min_side": 21, "strip_metadata": True, "max_rejects": 1}
    manifest = made(images, tmp_path / "data", **options)
    assert manifest.provenance["rejected"] == {"too_small": 1}
    assert (manifest.provenance["min_side"], manifest.provenance["strip_metadata"]) == (21, True)
    [line] = map(json.loads, (tmp_path / "data" / REJECTS_NAME).read_text().splitlines())
    assert line == {
        "split": "train",
        "path": "red/small.jpg",
        "reason": "too_small",
        "detail": "60 × 20 pixels, and --min_side is 21",
    }
    by_path = {example["image/path"]: example["image/encoded"] for example in stored(tmp_path / "data")["train"]}
    assert b"Ada" in (images / "red" / "large.jpg").read_bytes()
    assert b"Ada" not in by_path[b"red/large.jpg"]
