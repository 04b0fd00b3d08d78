"""Builds in one process, and what they should and did store."""

from pathlib import Path
from typing import Any

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.builder.listing import Walk, scan
from shardtune.builder.partition import hash_shuffle
from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import SPLITS, Split
from shardtune.images.ignored import Ignored
from shardtune.runtime.world import World
from tests.pictures import CLASSES
from tests.records import fields, records

PER_CLASS = 6


def made(images: Path | None, output: Path, **options: Any) -> Manifest:
    shards = {"train_shards": 3, "validation_shards": 2}
    return build(BuildConfig(images, output_directory=output, **{**shards, **options}), World())


def order_of(directory: Path) -> list[str]:
    """The paths of all images in the order of the data set."""
    listing = hash_shuffle(scan(directory, CLASSES, Walk([directory], Ignored())), 0)
    return [listing.path(index) for index in range(len(listing))]


def stored(directory: Path) -> dict[Split, list[dict[str, Any]]]:
    """The fields of every record, read back from the shards."""
    return {split: [fields(record) for record in records(directory, split)] for split in SPLITS}
