"""From folders to a plan: which labels there are, which images, which of them are identical, and in which split each is."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shardtune.builder import labels, partition
from shardtune.builder.boxes import Box, match_boxes, read_boxes
from shardtune.builder.config import BuildConfig
from shardtune.builder.duplicates import digest_files
from shardtune.builder.ignored import Ignored
from shardtune.builder.listing import FileTable, Walk, scan
from shardtune.builder.partition import Digests, Indices, Plan
from shardtune.dataset.manifest import SPLITS, Split
from shardtune.errors import DataError, WorldError
from shardtune.runtime.world import RootOnly, World

FILES_COMPARED = 32  # of each split: looking at one takes milliseconds on some network file systems


@dataclass(frozen=True)
class View:
    """What a rank sees of a split: the class folders, and the bytes of some files, by path, or None where there is no file."""

    folders: list[str]
    sizes: dict[str, int | None]


def find_labels(config: BuildConfig) -> list[str]:
    """Class names: train_directory has a folder for each, and validation_directory no others.

    Raises:
        DataError: a directory or a labels file is not as it must be, or shards would lie among the folders of images.
    """
    roots = _roots(config)
    folders = {split: labels.class_folders(root, Ignored(config.ignore)) for split, root in roots.items()}
    if config.labels_file:
        names = labels.read_labels(config.labels_file)
    else:
        names = list(folders["train"])
        labels.require_no_splits(config.train_directory, folders["train"].values(), config.output_directory)
    used = {
        split: [f for name, f in of.items() if name in names or not config.ignore_unlisted] for split, of in folders.items()
    }
    _require_apart(config, used)
    for split, root in roots.items():
        may_lack = split == "validation"
        labels.require_same(names, folders[split], root, ignore_unlisted=config.ignore_unlisted, may_lack=may_lack)
    return names


def scan_splits(config: BuildConfig, names: list[str], ignored: Ignored, beat: Callable[[], None]) -> dict[Split, FileTable]:
    """The images of each directory in the order of the data set.

    Args:
        ignored: which files and folders are none; counts what it leaves out.
        beat: called for each image that is found.

    Raises:
        DataError: a class has no training images, there are no validation images, or one folder is in two classes.
    """
    roots, found = _roots(config), dict[Split, FileTable]()
    walk = Walk(roots.values(), ignored)
    for split, root in roots.items():
        folders = labels.class_folders(root, ignored)
        listing = scan(root, [folders.get(name) for name in names], walk, may_lack=split == "validation", beat=beat)
        found[split] = partition.hash_shuffle(listing, config.seed)
    return found


def check_same_view(config: BuildConfig, found: RootOnly[dict[Split, FileTable]], world: World) -> None:
    """Check on every rank that it sees the images that rank 0 found: all class folders, and some of the files by their size.

    For all ranks to call.

    Raises:
        WorldError: names a rank that sees something else.
    """
    expected = world.broadcast_from_root(
        lambda: {split: _view(config, split, _some_of(listing)) for split, listing in found.get().items()}
    )
    differing = (split for split, view in expected.items() if _view(config, split, list(view.sizes)) != view)
    everywhere = world.allgather((world.name, next(differing, None)))
    world.run_on_root(lambda: _require_no_difference(config, everywhere))


def _some_of(listing: FileTable) -> list[str]:
    """Paths of files that lie far apart."""
    return [listing.path(index) for index in range(0, len(listing), -(-len(listing) // FILES_COMPARED))]


def _view(config: BuildConfig, split: Split, paths: list[str]) -> View:
    """What this process sees in the directory of a split."""
    root = _roots(config)[split]
    try:
        return View(
            list(labels.class_folders(root, Ignored(config.ignore)).values()), {path: _size(root / path) for path in paths}
        )
    except (DataError, OSError):
        return View([], dict.fromkeys(paths))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _require_no_difference(config: BuildConfig, everywhere: list[tuple[str, Split | None]]) -> None:
    for name, split in everywhere:
        if split is not None:
            raise WorldError(
                f"All ranks read the same images, but {name} sees other ones in {split}_directory {_roots(config)[split]} than "
                f"rank 0: give a directory on a file system that all hosts share, by its full path."
            )


def make_plan(
    config: BuildConfig, names: list[str], found: RootOnly[dict[Split, FileTable]], cache: Path, world: World
) -> RootOnly[Plan]:
    """The plan. For all ranks to call, because they share the reading where identical files matter.

    Args:
        found: see `scan_splits`; changed: what is held out is taken out of it.
        cache: file where digests of images are kept for the next attempt.

    Raises:
        DataError: there are too few images to hold out so many, or bounding boxes are wrong.
    """
    digests: dict[Split, RootOnly[Digests]] = {}
    if config.validation_fraction or config.validation_examples or config.duplicates == "skip":

        def digests_of(split: Split, root: Path) -> RootOnly[Digests]:
            return digest_files(root, lambda: found.get()[split], cache, world)

        digests = {split: digests_of(split, root) for split, root in _roots(config).items()}
    return world.run_on_root(lambda: _decide(config, names, found.get(), {split: of.get() for split, of in digests.items()}))


def _roots(config: BuildConfig) -> dict[Split, Path]:
    roots: dict[Split, Path] = {"train": config.train_directory}
    if config.validation_directory:
        roots["validation"] = config.validation_directory
    return roots


def _require_apart(config: BuildConfig, used: dict[Split, list[str]]) -> None:
    """Check that shards do not lie among images, nor the images of one split in a class of the other.

    Args:
        used: the class folders of each split.
    """
    roots = {split: root.resolve() for split, root in _roots(config).items()}
    classes = {(roots[split] / folder).resolve(): (split, folder) for split, folders in used.items() for folder in folders}
    output = config.output_directory.resolve()
    if {*roots.values(), *classes} & {*output.parents} or output in classes:
        raise DataError(
            f"The folders beside images are classes, but output_directory {config.output_directory} would be one of them or "
            f"lie in one: give a directory elsewhere."
        )
    if len(set(roots.values())) < len(roots):
        raise DataError(
            f"Validation images are other ones than training images, but both directories are {config.train_directory}: leave "
            f"out --validation_directory, and hold some out with --validation_fraction 0.1."
        )
    for split, root in roots.items():
        for folder in (root, *root.parents):
            other, name = classes.get(folder, (split, ""))
            if other != split:
                raise DataError(
                    f"Validation images are other ones than training images, but {split}_directory {root} lies in the class "
                    f"{name} of {other}_directory {roots[other]}: give directories side by side, or --ignore {name}."
                )


def _decide(config: BuildConfig, names: list[str], sources: dict[Split, FileTable], digests: dict[Split, Digests]) -> Plan:
    roots = _roots(config)
    attached: dict[str, list[Box]] = {}
    if config.bounding_box_file:
        attached = match_boxes(read_boxes(config.bounding_box_file, names), (path for _, path, _ in _files(sources)))
    if config.validation_fraction or config.validation_examples:
        roots["validation"] = config.train_directory
        everything = sources.pop("train")
        groups = partition.group(digests["train"])
        held = partition.select_holdout(everything.labels, groups, _wanted(config, everything, len(names)))
        parts: dict[Split, Indices] = {"train": np.flatnonzero(~held), "validation": np.flatnonzero(held)}
        digests = {split: digests["train"][part] for split, part in parts.items()}
        for split, part in parts.items():
            sources[split] = everything.take(part)
        del everything  # of a million images, 75 MB
    boxes = {(split, path): attached[path] for split, path, _ in _files(sources if attached else {}) if path in attached}
    box_counts = Counter[str]()
    skipped: dict[Split, tuple[FileTable, Digests]] = {}
    if config.duplicates == "skip":
        order: list[Split] = sorted(sources, reverse=True)  # validation first: it stays as it was given
        groups = partition.group(np.concatenate([digests[split] for split in order]))
        if boxes:
            box_counts = _move_boxes(boxes, list(_files({split: sources[split] for split in order})), groups)
        first = partition.is_first_occurrence(groups)
        ends = np.cumsum([len(sources[split]) for split in order])
        for split, keep in zip(order, np.split(first, ends[:-1]), strict=True):
            skipped[split] = sources[split].take(np.flatnonzero(~keep)), digests[split][~keep]
            sources[split] = sources[split].take(np.flatnonzero(keep))
    counts = {"train": config.train_shards, "validation": config.validation_shards}
    shards = [
        shard
        for split in SPLITS
        if split in sources
        for shard in partition.split_into_shards(split, sources[split], counts[split], config.seed)
    ]
    return Plan(names, roots, sources, skipped, boxes, shards, box_counts)


def _files(sources: dict[Split, FileTable]) -> Iterator[tuple[Split, str, int]]:
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


def _wanted(config: BuildConfig, sources: FileTable, classes: int) -> list[int]:
    counts = np.bincount(sources.labels, minlength=classes + 1)[1:].tolist()
    if config.validation_fraction:
        return partition.shares(counts, max(1, round(config.validation_fraction * len(sources))))
    most = len(sources) - classes
    if config.validation_examples > most:
        raise DataError(
            f"At least one image of each class is left for training, but {config.validation_examples} of {len(sources)} images "
            f"in {classes} classes were asked for: give at most --validation_examples {most}."
        )
    return partition.shares(counts, config.validation_examples)
