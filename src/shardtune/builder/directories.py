"""The image directories: their classes, that they do not overlap, and that all ranks see the same images in them."""

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from shardtune.builder import labels
from shardtune.builder.config import BuildConfig
from shardtune.builder.listing import FileTable
from shardtune.dataset.splits import Split
from shardtune.errors import DataError, WorldError
from shardtune.images.ignored import Ignored
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World

FILES_COMPARED = 32  # in each split: each takes milliseconds on some network file systems
NAMES_COUNTED = 10_000  # in the folder of each: so many take about a second there


@dataclass(frozen=True)
class View:
    """What a rank sees of a split.

    Attributes:
        folders: the class folders; none where a list names the images.
        sizes: bytes of some files by path; None if there is no such file.
        counts: how many names are in the folders of these files: a rank that does not see an image does not list it.
    """

    folders: list[str]
    sizes: dict[str, int | None]
    counts: dict[str, int]


def split_directories(config: BuildConfig) -> dict[Split, Path]:
    """The image directory of each split that has one of its own."""
    given: dict[Split, Path | None] = {
        "train": config.train_directory,
        "validation": config.validation_directory,
        "test": config.test_directory,
    }
    return {split: path for split, path in given.items() if path}


def find_labels(config: BuildConfig) -> list[str]:
    """Class names: train_directory has a folder for each, and the directories of other splits have no others.

    Raises:
        DataError: a directory or a labels file is not as required, or shards would be written into the images.
    """
    directories = split_directories(config)
    folders = {split: labels.class_folders(path, Ignored(config.ignore)) for split, path in directories.items()}
    if config.labels_file:
        names = labels.read_labels(config.labels_file)
    else:
        names = list(folders["train"])
        labels.check_no_split_folders(directories["train"], folders["train"].values(), config.output_directory)
    listed = set(names)
    used = {
        split: [folder for name, folder in by_name.items() if name in listed or not config.ignore_unlisted]
        for split, by_name in folders.items()
    }
    _check_disjoint(config, used)
    for split, path in directories.items():
        labels.check_class_folders(
            names, folders[split], path, ignore_unlisted=config.ignore_unlisted, allow_missing=split != "train"
        )
    return names


def _check_disjoint(config: BuildConfig, used: dict[Split, list[str]]) -> None:
    """Check that shards are not written among images, and that the images of one split are not in a class of the other.

    Args:
        used: the class folders of each split.
    """
    resolved = {split: path.resolve() for split, path in split_directories(config).items()}
    classes = {(resolved[split] / folder).resolve(): (split, folder) for split, folders in used.items() for folder in folders}
    output = config.output_directory.resolve()
    if {*resolved.values(), *classes} & {*output.parents} or output in classes:
        raise DataError(
            f"output_directory {config.output_directory} is inside a directory of images, where each folder is a class.",
            "Choose a directory elsewhere.",
        )
    first: dict[Path, Split] = {}
    for split, path in resolved.items():
        if path in first:
            given = split_directories(config)[first[path]]
            raise DataError(
                f"{first[path]}_directory and {split}_directory are the same directory, {given}.",
                f"Leave out --{split}_directory, and hold out images with --{split}_fraction 0.1.",
            )
        first[path] = split
    for split, path in resolved.items():
        for folder in (path, *path.parents):
            other, name = classes.get(folder, (split, ""))
            if other != split:
                raise DataError(
                    f"{split}_directory {path} is inside the class {name} of {other}_directory {resolved[other]}.",
                    f"Give directories side by side, or pass --ignore {name}.",
                )


def check_same_view(
    config: BuildConfig, directories: dict[Split, Path], tables: RootOnly[dict[Split, FileTable]], world: World
) -> None:
    """Check that each rank sees the images that rank 0 found: class folders, some files and the size of their folders.

    All ranks must call it. It is no proof: what only one rank looks at may look different to others.

    Args:
        directories: the directory of each table.

    Raises:
        WorldError: a rank sees others; it is named.
    """
    expected = world.broadcast_from_root(
        lambda: {split: _view(config, directories[split], _sample_paths(files)) for split, files in tables.get().items()}
    )
    others = {} if world.is_root else expected  # what rank 0 sees is what is expected
    differing = (split for split, view in others.items() if _view(config, directories[split], list(view.sizes)) != view)
    differing_by_rank = world.allgather((world.name, next(differing, None)))
    world.run_on_root(lambda: _check_no_difference(config, directories, differing_by_rank))


def _sample_paths(files: FileTable) -> list[str]:
    """Paths of files at equal distances."""
    return [files.path(index) for index in range(0, len(files), -(-len(files) // FILES_COMPARED))]


def _view(config: BuildConfig, directory: Path, paths: list[str]) -> View:
    """What this rank sees in the directory of a split."""
    try:
        folders = [] if config.list else list(labels.class_folders(directory, Ignored(config.ignore)).values())
        sizes = {path: _size(directory / path) for path in paths}
        entered = set() if config.list else {path.rpartition("/")[0] for path in paths}
        return View(folders, sizes, {folder: _count(directory, folder, Ignored(config.ignore)) for folder in entered})
    except (DataError, OSError):
        return View([], dict.fromkeys(paths), {})


def _count(directory: Path, folder: str, ignored: Ignored) -> int:
    with os.scandir(directory / folder) as entries:
        return sum(not ignored.covers(f"{folder}/{entry.name}") for entry in islice(entries, NAMES_COUNTED))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _check_no_difference(
    config: BuildConfig, directories: dict[Split, Path], differing_by_rank: list[tuple[str, Split | None]]
) -> None:
    for name, split in differing_by_rank:
        if split is not None:
            folder = "image_root" if config.list else f"{split}_directory"
            raise WorldError(
                f"In {folder} {directories[split]}, {name} sees other images than rank 0.",
                "Give the full path of a directory on a file system that all hosts share.",
            )
