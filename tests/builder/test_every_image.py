"""Every image is accounted for, whatever is wrong with which of them."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.builder.finalize import DUPLICATES_NAME, REJECTS_NAME
from shardtune.builder.listing import FileTable
from shardtune.builder.partition import hash_shuffle, split_into_shards
from shardtune.dataset.splits import SPLITS, Split
from shardtune.runtime.world import World
from tests.listings import listing_of
from tests.pictures import CLASSES, encoded, picture
from tests.records import fields, records

File = tuple[Split, str]
Tree = dict[File, str]  # what each file holds: a key of CONTENT

IMAGES = {"train": 6, "validation": 2}  # of each class
SHARDS = 4
GOOD = {f"image {n}": encoded(picture(np.random.default_rng(n), 32, 24)) for n in range(sum(IMAGES.values()) * len(CLASSES))}
BAD = {"truncated": GOOD["image 0"][:-40], "unsupported": b"<html>not found</html>", "empty": b""}
CONTENT = GOOD | BAD


def listed(split: Split) -> FileTable:
    """The files of a split in the order of the data set."""
    return hash_shuffle(listing_of([f"{name}/{number}.jpg" for name in CLASSES for number in range(IMAGES[split])]), 0)


def in_order(split: Split) -> list[File]:
    listing = listed(split)
    return [(split, listing.path(index)) for index in range(len(listing))]


TRAIN = in_order("train")
FILES = [*TRAIN, *in_order("validation")]
SHARD_ROWS = [
    shard.rows for shard in split_into_shards("train", listed("train"), np.arange(len(TRAIN)), SHARDS, 0) if shard.rows
]
EDGES = [TRAIN[at] for rows in SHARD_ROWS for at in (rows.start, rows.stop - 1)]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Some files are bad and some are copies of others; one training image a class is left alone: without it there is none."""
    tree = dict(zip(FILES, GOOD, strict=True))
    spared = [("train", f"{name}/{draw(st.integers(0, IMAGES['train'] - 1))}.jpg") for name in CLASSES]
    file = st.sampled_from([file for file in EDGES if file not in spared] or FILES[-1:])
    file |= st.sampled_from([file for file in FILES if file not in spared])
    tree |= draw(st.dictionaries(file, st.sampled_from(list(BAD))))
    for original, copy in draw(st.lists(st.tuples(file, file), max_size=6)):
        tree[copy] = tree[original]
    return tree


@given(trees(), st.sampled_from(["keep", "skip"]))
def test_every_image_is_stored_or_rejected_or_skipped(tree: Tree, duplicates: Literal["keep", "skip"]) -> None:
    with TemporaryDirectory() as name:
        directory, data = Path(name), Path(name, "data")
        for (split, path), content in tree.items():
            (directory / split / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / split / path).write_bytes(CONTENT[content])
        config = BuildConfig(
            directory / "train", output_directory=data, validation_directory=directory / "validation",
            train_shards=SHARDS, validation_shards=2, duplicates=duplicates, max_rejects=len(tree),
        )  # fmt: skip
        provenance = build(config, World()).provenance
        stored = {(split, e["image/path"].decode()): e for split in SPLITS for e in map(fields, records(data, split))}
        rejected = {(line["split"], line["path"]): line["reason"] for line in lines(data / REJECTS_NAME)}
        groups = [line["identical"] for line in lines(data / DUPLICATES_NAME)]

    for (split, path), example in stored.items():
        assert example["image/encoded"] == CONTENT[tree[split, path]]
        assert CLASSES[example["image/class/label"] - 1] == path.split("/")[0]
    assert all(tree[file] == reason for file, reason in rejected.items())
    assert provenance["written"] == len(stored)  # no record is there twice
    assert provenance["rejected"] == Counter(rejected.values())
    assert provenance["scanned"] == len(tree) == len(stored) + len(rejected) + provenance["skipped"]

    accounted = stored.keys() | rejected.keys()
    assert len(accounted) == len(stored) + len(rejected)
    copies = Counter(content for content in tree.values() if content != "empty")  # no bytes are not taken for equal bytes
    assert {tuple(sorted((file["split"], file["path"]) for file in group)) for group in groups} == {
        tuple(sorted(file for file in tree if tree[file] == content)) for content, count in copies.items() if count > 1
    }
    assert all(file["stored"] == ((file["split"], file["path"]) in stored) for group in groups for file in group)
    if duplicates == "keep":
        assert accounted == tree.keys()
    else:  # one of each is left, in validation if one is there
        assert Counter(tree[file] for file in accounted if tree[file] != "empty") == dict.fromkeys(copies, 1)
        assert {file for file in tree if tree[file] == "empty"} <= accounted
        in_validation = {tree[file] for file in tree if file[0] == "validation"} - {"empty"}
        assert all(file[0] == "validation" for file in accounted if tree[file] in in_validation)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
