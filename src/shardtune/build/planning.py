"""From folders to a plan: which labels there are, which images, which of them are identical, and in which split each is."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shardtune.build import labels, plan
from shardtune.build.boxes import Box, attach, read_boxes
from shardtune.build.duplicates import digest_files
from shardtune.build.listing import Listing, scan
from shardtune.build.plan import Digests, Indices, Plan
from shardtune.config import BuildConfig
from shardtune.dataset.manifest import SPLITS, Split
from shardtune.errors import DataError
from shardtune.world import World


def find_labels(config: BuildConfig) -> list[str]:
    """Class names: train_directory has a folder for each, and validation_directory no others.

    Raises:
        DataError: a directory or a labels file is not as it must be, or shards would lie among the folders of images.
    """
    for root in _roots(config).values():
        if root.resolve() in config.output_directory.resolve().parents:
            raise DataError(
                f"The folders in {root} are classes, but output_directory {config.output_directory} would be one of them or "
                f"lie in one: give a directory elsewhere."
            )
    names = labels.read_labels(config.labels_file) if config.labels_file else labels.class_folders(config.train_directory)
    for split, root in _roots(config).items():
        labels.require_same(names, root, ignore_unlisted=config.ignore_unlisted, may_lack=split == "validation")
    return names


def find_images(config: BuildConfig, names: list[str]) -> dict[Split, Listing]:
    """The images of each directory in the order of the data set.

    Raises:
        DataError: a class has no training images, there are no validation images, or a file name is no text.
    """
    roots = _roots(config).items()
    return {split: plan.shuffled(scan(root, names, may_lack=split == "validation"), config.seed) for split, root in roots}


def make_plan(config: BuildConfig, names: list[str], found: dict[Split, Listing], cache: Path, world: World) -> Plan:
    """The plan, on rank 0 alone; for all ranks to call, because they share the reading where identical files matter.

    Args:
        found: see `find_images`; looked at on rank 0 alone, and changed: what is held out is taken out of it.
        cache: file where digests of images are kept for the next attempt.

    Raises:
        DataError: there are too few images to hold out so many, or bounding boxes are wrong.
    """
    digests: dict[Split, Digests] = {}
    if config.validation_fraction or config.validation_examples or config.duplicates == "skip":

        def digests_of(split: Split, root: Path) -> Digests:
            return digest_files(root, lambda: found[split], cache, world)

        digests = {split: digests_of(split, root) for split, root in _roots(config).items()}
    return world.at_root(lambda: _decide(config, names, found, digests))


def _roots(config: BuildConfig) -> dict[Split, Path]:
    roots: dict[Split, Path] = {"train": config.train_directory}
    if config.validation_directory:
        roots["validation"] = config.validation_directory
    return roots


def _decide(config: BuildConfig, names: list[str], sources: dict[Split, Listing], digests: dict[Split, Digests]) -> Plan:
    roots = _roots(config)
    attached: dict[str, list[Box]] = {}
    if config.bounding_box_file:
        attached = attach(read_boxes(config.bounding_box_file, names), (path for _, path, _ in _files(sources)))
    if config.validation_fraction or config.validation_examples:
        roots["validation"] = config.train_directory
        everything = sources.pop("train")
        groups = plan.group(digests["train"])
        held = plan.hold_out(everything.labels, groups, _wanted(config, everything, len(names)))
        parts: dict[Split, Indices] = {"train": np.flatnonzero(~held), "validation": np.flatnonzero(held)}
        digests = {split: digests["train"][part] for split, part in parts.items()}
        for split, part in parts.items():
            sources[split] = everything.take(part)
        del everything  # of a million images, 75 MB
    boxes = {(split, path): attached[path] for split, path, _ in _files(sources if attached else {}) if path in attached}
    box_counts = Counter[str]()
    skipped: dict[Split, tuple[Listing, Digests]] = {}
    if config.duplicates == "skip":
        order: list[Split] = sorted(sources, reverse=True)  # validation first: it stays as it was given
        groups = plan.group(np.concatenate([digests[split] for split in order]))
        if boxes:
            box_counts = _move_boxes(boxes, list(_files({split: sources[split] for split in order})), groups)
        first = plan.first_of_each(groups)
        ends = np.cumsum([len(sources[split]) for split in order])
        for split, keep in zip(order, np.split(first, ends[:-1]), strict=True):
            skipped[split] = sources[split].take(np.flatnonzero(~keep)), digests[split][~keep]
            sources[split] = sources[split].take(np.flatnonzero(keep))
    counts = {"train": config.train_shards, "validation": config.validation_shards}
    shards = [s for split in SPLITS if split in sources for s in plan.into_shards(split, len(sources[split]), counts[split])]
    return Plan(names, roots, sources, skipped, boxes, shards, box_counts)


def _files(sources: dict[Split, Listing]) -> Iterator[tuple[Split, str, int]]:
    """Split, path and label of every image."""
    for split, listing in sources.items():
        for index in range(len(listing)):
            yield split, listing.path(index), int(listing.labels[index])


def _move_boxes(
    boxes: dict[tuple[Split, str], list[Box]], files: Sequence[tuple[Split, str, int]], groups: Indices
) -> Counter[str]:
    """Give the boxes of images that will be skipped to the identical one that is stored, which is the first of its group.

    Returns how many were "moved", and how many "repeated" one that is there.
    """
    counts = Counter[str]()
    firsts = np.unique(groups, return_index=True)[1]
    for number, (split, path, label) in enumerate(files):
        to_split, to_path, to_label = files[firsts[groups[number]]]
        if (split, path) in boxes and (split, path) != (to_split, to_path):
            there = boxes.setdefault((to_split, to_path), [])
            for box in boxes.pop((split, path)):
                moved = replace(box, label=label if box.label is None else box.label)
                repeated = any(moved.is_like(other, to_label) for other in there)
                counts["repeated" if repeated else "moved"] += 1
                if not repeated:
                    there.append(moved)
    return counts


def _wanted(config: BuildConfig, sources: Listing, classes: int) -> list[int]:
    counts = np.bincount(sources.labels, minlength=classes + 1)[1:].tolist()
    if config.validation_fraction:
        return plan.shares(counts, max(1, round(config.validation_fraction * len(sources))))
    most = len(sources) - classes
    if config.validation_examples > most:
        raise DataError(
            f"At least one image of each class is left for training, but {config.validation_examples} of {len(sources)} images "
            f"in {classes} classes were asked for: give at most --validation_examples {most}."
        )
    return plan.shares(counts, config.validation_examples)
