"""List the images of all splits: each rank those of some classes."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shardtune.builder import labels, partition
from shardtune.builder.config import BuildConfig
from shardtune.builder.directories import split_directories
from shardtune.builder.listing import FileTable, Walk, scan
from shardtune.builder.partition import Digests
from shardtune.builder.recipe import class_hashes
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.images.ignored import Ignored
from shardtune.runtime.memory import return_freed_memory
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World

ClassFolders = dict[Split, list[str | None]]  # in the order of labels; None: the class has none there


@dataclass(frozen=True)
class _Part:
    """What a rank has found.

    Attributes:
        tables: of each split.
        hashes: of each split, see `class_hashes`.
        order: of each split, see `partition.order_digests`.
        folders: see `Walk`.
        ignored: how many files were left out, by pattern.
    """

    tables: dict[Split, FileTable]
    hashes: dict[Split, dict[int, tuple[int, int]]]
    order: dict[Split, Digests]
    folders: dict[str | tuple[int, int], tuple[Path, str]]
    ignored: Counter[str]


def scan_splits(config: BuildConfig, names: list[str], ignored: Ignored, world: World) -> RootOnly[dict[Split, FileTable]]:
    """The images of each directory in the order of the data set, on rank 0. All ranks must call it.

    Args:
        ignored: the files and folders to leave out; on rank 0, counts them.

    Raises:
        DataError: a class has no training images, another split has none at all, or one folder belongs to two classes.
    """
    folders = world.broadcast_from_root(lambda: _class_folders(config, names, ignored))

    def part() -> _Part | None:
        try:
            return _scan(config, folders, world.rank, world.size, world)
        except (DataError, OSError):
            return None

    parts = world.gather(part)
    return world.run_on_root(lambda: _merge(config, folders, parts.get(), ignored, world))


def _class_folders(config: BuildConfig, names: list[str], ignored: Ignored) -> ClassFolders:
    folders = {split: labels.class_folders(directory, ignored) for split, directory in split_directories(config).items()}
    return {split: [by_name.get(name) for name in names] for split, by_name in folders.items()}


def _scan(config: BuildConfig, folders: ClassFolders, first: int, step: int, world: World) -> _Part:
    """The images of class number `first` (from 0), and of every `step`-th class after it."""
    directories, ignored = split_directories(config), Ignored(config.ignore)
    walk, tables = Walk(directories.values(), ignored), dict[Split, FileTable]()
    for split, directory in directories.items():
        own = [folder if number % step == first else None for number, folder in enumerate(folders[split])]
        may_miss = split != "train"
        tables[split] = scan(
            directory, own, walk, allow_missing=may_miss, heartbeat=lambda: world.guard.heartbeat("looking for images")
        )
    order = {split: partition.order_digests(table, config.seed) for split, table in tables.items()}
    hashes = {split: class_hashes(table) for split, table in tables.items()}
    return _Part(tables, hashes, order, walk.folders, ignored.counts)


def _merge(
    config: BuildConfig, folders: ClassFolders, parts: list[_Part | None], ignored: Ignored, world: World
) -> dict[Split, FileTable]:
    found = [part for part in parts if part]
    if len(found) < len(parts) or _share_a_folder(found):
        found = [_scan(config, folders, 0, 1, world)]  # raises the same error for any number of ranks
    tables = dict[Split, FileTable]()
    for split, directory in split_directories(config).items():
        files = FileTable.concatenate([part.tables.pop(split) for part in found])
        return_freed_memory()
        if not len(files):
            raise DataError(f"No class folder in {directory} holds images.", "Add images, or leave out the flag that names it.")
        order = partition.sort_digests(np.concatenate([part.order.pop(split) for part in found]))
        # Each class is that of one rank.
        tables[split] = replace(
            files.take(order), hashes={label: pair for part in found for label, pair in part.hashes[split].items()}
        )
    for part in found:
        ignored.counts.update(part.ignored)
    return tables


def _share_a_folder(parts: list[_Part]) -> bool:
    """Whether two ranks have entered what may be the same folder, in different classes or splits."""
    entered: dict[str | tuple[int, int], tuple[Path, str]] = {}
    return any(entered.setdefault(key, owner) != owner for part in parts for key, owner in part.folders.items())
