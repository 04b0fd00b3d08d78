"""Plan a build: find identical images, and decide which split and which shard each image goes to."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from shardtune.builder import partition
from shardtune.builder.boxes import Box, match_boxes, read_boxes
from shardtune.builder.config import BuildConfig
from shardtune.builder.digests import DigestPass, digest_tables, no_digests
from shardtune.builder.directories import split_directories
from shardtune.builder.listing import FileTable
from shardtune.builder.partition import Digests, Indices, Plan, SplitPlan
from shardtune.dataset.manifest import SPLITS, Split
from shardtune.errors import DataError
from shardtune.runtime.world import RootOnly, World

Boxes = dict[tuple[Split, str], list[Box]]  # by split and path of the image


def make_plan(
    config: BuildConfig, names: list[str], tables: RootOnly[dict[Split, FileTable]], cache_path: Path, world: World
) -> tuple[RootOnly[Plan], DigestPass]:
    """Plan the build. All ranks must call it, because they share the reading if identical files matter.

    Returns the plan, and what the ranks have read for it.

    Args:
        names: class names.
        tables: see `scan_splits`.
        cache_path: where digests of images are kept for the next attempt.

    Raises:
        DataError: there are too few images to hold out so many, or bounding boxes are wrong.
    """
    if config.validation_fraction or config.validation_examples or config.duplicates == "skip":
        read = digest_tables(split_directories(config), tables, cache_path, world)
    else:
        read = no_digests(world)
    return world.run_on_root(lambda: _assemble_plan(config, names, tables.get(), read.digests.get())), read


def _assemble_plan(
    config: BuildConfig, names: list[str], tables: dict[Split, FileTable], digests: dict[Split, Digests]
) -> Plan:
    splits = _assign_splits(config, len(names), tables, digests)
    boxes, box_counts = _load_boxes(config, names, tables, splits)
    if config.duplicates == "skip":
        groups = _group_in_order(splits, digests)
        if boxes:
            boxes, moved = _move_boxes(boxes, splits, groups)
            box_counts += moved
        splits = _skip_duplicates(splits, digests, groups)
    counts = {"train": config.train_shards, "validation": config.validation_shards}
    shards = [
        shard
        for split in SPLITS
        if split in splits
        for shard in partition.split_into_shards(split, splits[split].files, splits[split].stored, counts[split], config.seed)
    ]
    return Plan(names, splits, boxes, shards, box_counts)


def _assign_splits(
    config: BuildConfig, classes: int, tables: dict[Split, FileTable], digests: dict[Split, Digests]
) -> dict[Split, SplitPlan]:
    """The images of each split, before identical ones are skipped."""
    directories = split_directories(config)
    if not (config.validation_fraction or config.validation_examples):
        return {s: SplitPlan(s, directories[s], files, np.arange(len(files))) for s, files in tables.items()}
    files = tables["train"]
    counts = _holdout_counts(config, files, classes)
    order = partition.holdout_order(files, config.seed)
    is_heldout = np.zeros(len(files), bool)
    groups = partition.group_by_digest(digests["train"])[order]
    is_heldout[order] = partition.select_holdout(files.labels[order], groups, counts)
    return {
        "train": SplitPlan("train", directories["train"], files, np.flatnonzero(~is_heldout)),
        "validation": SplitPlan("train", directories["train"], files, np.flatnonzero(is_heldout)),
    }


def _holdout_counts(config: BuildConfig, files: FileTable, classes: int) -> list[int]:
    """How many images of each class to hold out."""
    counts = np.bincount(files.labels, minlength=classes + 1)[1:].tolist()
    if config.validation_fraction:
        return partition.holdout_counts(counts, max(1, round(config.validation_fraction * len(files))))
    limit = len(files) - classes
    if config.validation_examples > limit:
        raise DataError(
            f"--validation_examples {config.validation_examples} is too many for the {len(files)} images in {classes} classes "
            f"of {config.train_directory}: one image of each class must be left for training.",
            f"Give at most --validation_examples {limit}.",
        )
    return partition.holdout_counts(counts, config.validation_examples)


def _load_boxes(
    config: BuildConfig, names: list[str], tables: dict[Split, FileTable], splits: dict[Split, SplitPlan]
) -> tuple[Boxes, Counter[str]]:
    """The boxes of each image that has any, and how many are "unlisted": of images that are not there."""
    if not config.bounding_box_file:
        return {}, Counter()
    paths = (files.path(row) for files in tables.values() for row in range(len(files)))
    given = read_boxes(config.bounding_box_file, names)
    by_path = match_boxes(given, paths, ignore_unlisted=config.ignore_unlisted)
    boxes = {(split, path): by_path[path] for split, path, _ in _images(splits, SPLITS) if path in by_path}
    return boxes, Counter(unlisted=len(given) - sum(map(len, by_path.values())))


def _images(splits: dict[Split, SplitPlan], order: tuple[Split, ...]) -> Iterator[tuple[Split, str, int]]:
    """Split, path and label of every stored image, split by split."""
    for split in order:
        if split in splits:
            files = splits[split].files
            for row in splits[split].stored.tolist():
                yield split, files.path(row), int(files.labels[row])


# Validation images come first and so are the ones that are stored: the validation split stays as it was given.
_SKIP_ORDER: tuple[Split, ...] = ("validation", "train")


def _group_in_order(splits: dict[Split, SplitPlan], digests: dict[Split, Digests]) -> Indices:
    """A group number for each image in `_SKIP_ORDER`; identical images have the same."""
    plans = [splits[split] for split in _SKIP_ORDER if split in splits]
    return partition.group_by_digest(np.concatenate([digests[plan.source][plan.stored] for plan in plans]))


def _skip_duplicates(splits: dict[Split, SplitPlan], digests: dict[Split, Digests], groups: Indices) -> dict[Split, SplitPlan]:
    """The splits with only the first image of each group (see `_group_in_order`) stored and the others skipped."""
    is_first, start, result = partition.is_first_occurrence(groups), 0, dict[Split, SplitPlan]()
    for split in _SKIP_ORDER:
        if split in splits:
            plan = splits[split]
            keep = is_first[start : start + len(plan.stored)]
            start += len(plan.stored)
            skipped = plan.stored[~keep]
            result[split] = replace(
                plan, stored=plan.stored[keep], skipped=skipped, skipped_digests=digests[plan.source][skipped]
            )
    return {split: result[split] for split in splits}


def _move_boxes(boxes: Boxes, splits: dict[Split, SplitPlan], groups: Indices) -> tuple[Boxes, Counter[str]]:
    """Give the boxes of images that will be skipped to the identical image that is stored, the first of its group.

    Returns the boxes of the stored images, and how many were "moved" and how many "repeated" a box that is already there.
    """
    images = list(_images(splits, _SKIP_ORDER))
    firsts = np.unique(groups, return_index=True)[1]
    result, counts = Boxes(), Counter[str]()
    for number, (split, path, label) in enumerate(images):
        own = boxes.get((split, path), [])
        if not own:
            continue
        first_split, first_path, first_label = images[firsts[groups[number]]]
        stored = result.setdefault((first_split, first_path), [])
        if (split, path) == (first_split, first_path):
            stored.extend(own)
            continue
        for box in own:
            moved = replace(box, label=label if box.label is None else box.label)
            is_repeated = any(moved.is_equivalent(other, first_label) for other in stored)
            counts["repeated" if is_repeated else "moved"] += 1
            if not is_repeated:
                stored.append(moved)
    return result, counts
