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
from shardtune.builder.holdout import check_groups, group_names, hold_out
from shardtune.builder.listing import FileTable
from shardtune.builder.partition import Digests, Indices, Plan, SplitPlan
from shardtune.dataset.splits import SPLITS, Split
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World

Boxes = dict[tuple[Split, str], list[Box]]  # by split and path of the image


def make_plan(
    config: BuildConfig,
    names: list[str],
    directories: dict[Split, Path],
    tables: RootOnly[dict[Split, FileTable]],
    cache_path: Path,
    world: World,
    *,
    is_saved: bool = True,
) -> tuple[RootOnly[Plan], DigestPass]:
    """Plan the build. All ranks must call it, because they share the reading if identical files matter.

    Returns the plan, and what the ranks have read for it.

    Args:
        names: class names.
        directories: the directory of each table.
        tables: the images of each split, see `Survey`.
        cache_path: where digests of images are kept for the next attempt.
        is_saved: whether those that are computed now are.

    Raises:
        DataError: there are too few images to hold out so many, or bounding boxes are wrong.
    """
    if config.holds_out or config.duplicates == "skip":
        read = digest_tables(directories, tables, cache_path, world, is_saved=is_saved)
    else:
        read = no_digests(world)
    plan = world.run_on_root(lambda: _assemble_plan(config, names, directories, tables.get(), read.digests.get()))
    if world.is_root and plan.get().note:
        print_on_root(world, plan.get().note)
    return plan, read


def _assemble_plan(
    config: BuildConfig,
    names: list[str],
    directories: dict[Split, Path],
    tables: dict[Split, FileTable],
    digests: dict[Split, Digests],
) -> Plan:
    splits, note = _assign_splits(config, len(names), directories, tables, digests)
    boxes, box_counts = _load_boxes(config, names, tables, splits)
    if config.duplicates == "skip":
        groups = _group_in_order(splits, digests)
        if boxes:
            boxes, moved = _move_boxes(boxes, splits, groups)
            box_counts += moved
        splits = _skip_duplicates(splits, digests, groups)
    counts = {"train": config.train_shards, "validation": config.validation_shards, "test": config.test_shards}
    shards = [
        shard
        for split in SPLITS
        if split in splits
        for shard in partition.split_into_shards(split, splits[split].files, splits[split].stored, counts[split], config.seed)
    ]
    return Plan(names, splits, boxes, shards, box_counts, note)


def _assign_splits(
    config: BuildConfig,
    classes: int,
    directories: dict[Split, Path],
    tables: dict[Split, FileTable],
    digests: dict[Split, Digests],
) -> tuple[dict[Split, SplitPlan], str]:
    """The images of each split, before identical ones are skipped, and a sentence about their groups."""
    groups = {split: group_names(files, config.group_by) for split, files in tables.items()}
    splits = {s: SplitPlan(s, directories[s], files, np.arange(len(files))) for s, files in tables.items()}
    if config.holds_out:
        train = splits["train"]
        given = [digests[split] for split in splits if split != "train"]
        held_out = hold_out(config, train.files, digests["train"], groups["train"], classes, given)
        is_left = ~np.any(list(held_out.values()), axis=0)
        splits["train"] = replace(train, stored=np.flatnonzero(is_left))
        splits |= {split: replace(train, stored=np.flatnonzero(is_chosen)) for split, is_chosen in held_out.items()}
    splits = {split: splits[split] for split in SPLITS if split in splits}
    return splits, check_groups(splits, groups)


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


# Images that are not for training come first and so are the ones that are stored: their splits stay as they were given.
_SKIP_ORDER: tuple[Split, ...] = ("test", "validation", "train")


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
