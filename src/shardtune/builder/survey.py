"""What a build starts from: classes and images, from directories or from a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shardtune.builder.config import BuildConfig
from shardtune.builder.directories import check_same_view, find_labels, split_directories
from shardtune.builder.image_list import ImageList, read_image_list
from shardtune.builder.labels import read_words
from shardtune.builder.listing import FileTable
from shardtune.builder.scanning import scan_splits
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.images.ignored import Ignored
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World

Tables = RootOnly[dict[Split, FileTable]]


@dataclass(frozen=True)
class Survey:
    """Classes and images.

    Attributes:
        names: class names.
        words: what people call each class; empty if that is not known.
        directories: the folder to which the paths of each table are relative.
        tables: the images of each directory, or of each split of the list, in the order of the data set.
        ignored: how many files and folders were left out, by pattern.
    """

    names: list[str]
    words: list[str]
    directories: dict[Split, Path]
    tables: Tables
    ignored: Mapping[str, int]


def survey(config: BuildConfig, world: World) -> Survey:
    """Find classes and images. All ranks must call it.

    Raises:
        DataError: image directories, the list or labels are wrong.
        WorldError: a rank does not see the same images.
    """
    path, ignored = config.list, Ignored(config.ignore)
    listed = world.run_on_root(lambda: _read_list(config, path, world)) if path else None
    names, words, directories = world.broadcast_from_root(lambda: _find_classes(config, listed.get() if listed else None))
    tables = world.run_on_root(lambda: listed.get().tables) if listed else scan_splits(config, names, ignored, world)
    if ignored.counts:
        counts = ", ".join(f"{count} {pattern}" for pattern, count in sorted(ignored.counts.items()))
        print_on_root(world, f"Ignored: {counts}.")
    check_same_view(config, directories, tables, world)
    return Survey(names, words, directories, tables, ignored.counts)


def _read_list(config: BuildConfig, path: Path, world: World) -> ImageList:
    image_list = read_image_list(
        path,
        config.image_root,
        config.labels_file,
        config.seed,
        ignore_unlisted=config.ignore_unlisted,
        heartbeat=lambda: world.guard.heartbeat("looking for images"),
    )
    for note in image_list.notes:
        print_on_root(world, note)
    if "validation" in image_list.tables and (config.validation_fraction or config.validation_examples):
        raise _given_twice_error(path, "validation")
    if "test" in image_list.tables and config.test_fraction:
        raise _given_twice_error(path, "test")
    if config.group_by and any(table.groups is not None for table in image_list.tables.values()):
        raise DataError(f"{path} names groups, and --group_by others.", "Leave out --group_by, or the column of the list.")
    return image_list


def _given_twice_error(path: Path, split: Split) -> DataError:
    return DataError(
        f"{path} says which images are for {split}, and a flag holds out others.",
        f"Leave out the flag, or the {split} images of the list.",
    )


def _find_classes(config: BuildConfig, listed: ImageList | None) -> tuple[list[str], list[str], dict[Split, Path]]:
    """Names of the classes, what people call each (empty if that is not known), and the directory of each table."""
    names = listed.labels if listed else find_labels(config)
    words = read_words(config.imagenet_metadata_file, names) if config.imagenet_metadata_file else []
    return names, words, dict.fromkeys(listed.tables, listed.root) if listed else split_directories(config)
