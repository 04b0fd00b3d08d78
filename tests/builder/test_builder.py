import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.builder.finalize import DUPLICATES_NAME, REJECTS_NAME
from shardtune.builder.ignored import Ignored
from shardtune.builder.listing import Walk, scan
from shardtune.builder.partition import hash_shuffle
from shardtune.builder.receipts import RECEIPTS_NAME
from shardtune.dataset.example import decode_example, source_path
from shardtune.dataset.manifest import LABELS_NAME, MANIFEST_NAME, SPLITS, WORK_NAME, Manifest, Split
from shardtune.errors import DataError
from shardtune.runtime.world import World
from tests.pictures import CLASSES, plant
from tests.records import contents, fields, records
from tests.schema1 import downgrade

PER_CLASS = 6


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return plant(tmp_path / "images", per_class=PER_CLASS)


def made(images: Path, output: Path, **options: Any) -> Manifest:
    return build(BuildConfig(images, output, **{"train_shards": 3, "validation_shards": 2, **options}), World())


def order_of(directory: Path) -> list[str]:
    """The paths of all images in the order of the data set."""
    listing = hash_shuffle(scan(directory, CLASSES, Walk([directory], Ignored())), 0)
    return [listing.path(index) for index in range(len(listing))]


def stored(directory: Path) -> dict[Split, list[dict[str, Any]]]:
    """The fields of every record, read back from the shards."""
    return {split: [fields(record) for record in records(directory, split)] for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_every_record_traces_to_its_own_file_and_label(small_images: Path, small_data: Path, split: Split) -> None:
    examples = stored(small_data)[split]
    files = sorted((small_images / split).rglob("*.jpg"))
    assert sorted(example["image/path"].decode() for example in examples) == [
        path.relative_to(small_images / split).as_posix() for path in files
    ]
    for example in examples:
        name = example["image/path"].decode()
        text = name.split("/")[0]
        assert example["image/encoded"] == (small_images / split / name).read_bytes()
        assert example["image/class/text"].decode() == text
        assert example["image/class/label"] == 1 + CLASSES.index(text)


def test_the_manifest_says_what_the_shards_hold(small_images: Path, small_data: Path) -> None:
    manifest, examples = Manifest.load(small_data), stored(small_data)
    for split in SPLITS:
        counts = Counter(example["image/class/label"] for example in examples[split])
        assert manifest.class_counts[split] == [counts[label] for label in range(1, len(CLASSES) + 1)]
        assert manifest.examples(split) == len(examples[split])
        assert all(shard.bytes == (small_data / shard.name).stat().st_size for shard in manifest.splits[split])
    assert {split: len(manifest.splits[split]) for split in SPLITS} == {"train": 4, "validation": 2}
    assert manifest.provenance["scanned"] == manifest.provenance["written"] == 81
    assert (small_data / LABELS_NAME).read_text() == "blue\ngreen\nred\n"
    assert (small_data / REJECTS_NAME).read_bytes() == b""
    assert [path.name for path in small_data.glob(".*")] == [WORK_NAME]


def test_records_are_in_the_order_of_the_plan(small_images: Path, small_data: Path) -> None:
    assert [example["image/path"].decode() for example in stored(small_data)["train"]] == order_of(small_images / "train")


def test_the_same_images_give_the_same_bytes_and_another_seed_others(images: Path, tmp_path: Path) -> None:
    first, again, other = made(images, tmp_path / "a"), made(images, tmp_path / "b"), made(images, tmp_path / "c", seed=1)
    assert first == again
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert other.splits != first.splits


def test_the_order_of_directory_entries_does_not_matter(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    @contextmanager
    def in_order(folder: Path, *, backwards: bool) -> Iterator[Iterator[os.DirEntry[str]]]:
        with scandir(folder) as entries:
            yield iter(sorted(entries, key=lambda entry: entry.name, reverse=backwards))

    options = {"validation_fraction": 0.34, "duplicates": "skip"}
    for backwards in (False, True):
        monkeypatch.setattr(os, "scandir", partial(in_order, backwards=backwards))
        made(images, tmp_path / str(backwards), **options)
    assert contents(tmp_path / "False") == contents(tmp_path / "True")
    made(images, tmp_path / "False", **options)  # finds nothing changed


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


LOST = ["labels.txt", "records.bin", "rejects.jsonl", "duplicates.jsonl", "dataset.json", "train-00001-of-00003"]


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


def test_more_shards_than_images(images: Path, tmp_path: Path) -> None:
    manifest = made(images, tmp_path / "data", train_shards=20)
    assert 0 in [shard.examples for shard in manifest.splits["train"]]
    assert len(stored(tmp_path / "data")["train"]) == 18


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


def test_folders_of_splits_are_not_taken_for_classes(images: Path, tmp_path: Path) -> None:
    output, root = tmp_path / "data", tmp_path / "root"
    plant(root / "Train", per_class=2)
    with pytest.raises(DataError, match=f"shardtune build --train_directory {root}/Train --output_directory {output}"):
        made(root, output)
    plant(root / "val", per_class=1, seed=1)
    plant(root / "test", per_class=1, seed=2)
    meant = f"shardtune build --train_directory {root}/Train --validation_directory {root}/val --output_directory {output}"
    with pytest.raises(DataError, match=meant):
        made(root, output)
    (tmp_path / "labels").write_text("Train\nval\ntest\n")
    assert made(root, output, labels_file=tmp_path / "labels").class_counts["train"] == [6, 3, 3]
    plant(tmp_path / "toys", per_class=1, classes=("train", "test"))  # images of trains
    assert made(tmp_path / "toys", tmp_path / "other").labels == ["test", "train"]


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


def test_a_class_whose_images_are_all_rejected_is_an_error(images: Path, tmp_path: Path) -> None:
    for path in (images / "green").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="The class green has no image to train on, because all were rejected or skipped"):
        made(images, tmp_path / "data", max_rejects=100)
    assert not (tmp_path / "data" / MANIFEST_NAME).exists()


def test_unlisted_folders_can_be_left_out(images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("red\nblue\n")
    assert made(images, tmp_path / "data", labels_file=tmp_path / "labels", ignore_unlisted=True).labels == ["red", "blue"]
