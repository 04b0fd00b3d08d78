"""What a build stores: every image with its label, and the same bytes each time."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from shardtune.builder.finalize import REJECTS_NAME
from shardtune.dataset.columns import load_label_column
from shardtune.dataset.manifest import LABELS_NAME, WORK_NAME, Manifest
from shardtune.dataset.splits import Split
from tests.builder.builds import made, order_of, stored
from tests.pictures import CLASSES
from tests.records import contents


@pytest.mark.parametrize("split", ["train", "validation"])
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
    labels = load_label_column(small_data, manifest)
    assert labels
    for split in manifest.splits:
        counts = Counter(example["image/class/label"] for example in examples[split])
        assert manifest.class_counts[split] == [counts[label] for label in range(1, len(CLASSES) + 1)]
        assert manifest.examples(split) == len(examples[split])
        assert labels[split].tolist() == [example["image/class/label"] for example in examples[split]]
        assert all(shard.bytes == (small_data / shard.name).stat().st_size for shard in manifest.splits[split])
    assert {split: len(shards) for split, shards in manifest.splits.items()} == {"train": 4, "validation": 2}
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


def test_more_shards_than_images(images: Path, tmp_path: Path) -> None:
    manifest = made(images, tmp_path / "data", train_shards=20)
    assert 0 in [shard.examples for shard in manifest.splits["train"]]
    assert len(stored(tmp_path / "data")["train"]) == 18
