"""The image files of a data set as a table of columns: of a million files it takes 70 MB, objects would take a gigabyte."""

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.errors import DataError
from shardtune.images.ignored import Ignored

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class FileTable:
    """Files below one directory.

    Attributes:
        names: their paths relative to the directory, with forward slashes, in the file system's bytes, concatenated.
        ends: offset in `names` at which each path ends, int64 [files].
        labels: class numbers from 1, int32 [files].
        sizes: bytes, int64 [files].
        mtimes: modification times in nanoseconds, int64 [files].
        groups: digests of the names of their groups, uint64 [files, 2]; None if a list gives no groups.
    """

    names: bytes | bytearray
    ends: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]
    mtimes: npt.NDArray[np.int64]
    groups: npt.NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, index: int) -> bytes:
        """The path of a file in the file system's bytes."""
        return bytes(self.names[self.ends[index - 1] if index else 0 : self.ends[index]])

    def path(self, index: int) -> str:
        """The path of a file as functions of `os` take it; it may not be text (see `printable_path`)."""
        return os.fsdecode(self.name(index))

    def take(self, indices: npt.NDArray[Any]) -> "FileTable":
        """A table of the files in rows `indices`, in that order."""
        names = bytearray()
        ends = np.empty(len(indices), np.int64)
        for position, index in enumerate(indices):
            names += self.name(index)
            ends[position] = len(names)
        groups = None if self.groups is None else self.groups[indices]
        return FileTable(names, ends, self.labels[indices], self.sizes[indices], self.mtimes[indices], groups)


def printable_path(path: str) -> str:
    """A path as UTF-8 text: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Walk:
    """Lists the files of class folders and enters each folder once, however many links lead to it.

    Args:
        roots: the directories of all splits. Links to one of them, or to a folder above it, are not followed.
        ignored: which files and folders to leave out.
    """

    def __init__(self, roots: Iterable[Path], ignored: Ignored) -> None:
        folders = {folder for root in map(Path.resolve, roots) for folder in (root, *root.parents)}
        self._ancestors = {_identity(folder.stat()) for folder in folders}
        self._ignored = ignored
        self._entered: dict[tuple[int, int], tuple[Path, str, str]] = {}

    def files(self, root: Path, class_folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """Path relative to `root`, and status, of each file in a class folder and below.

        If several paths lead to a folder, the one without links is used, or else the first in alphabetical order.

        Raises:
            DataError: a folder belongs to another class too, or to another split.
        """
        queue = [(False, class_folder)]  # a heap of: is it a link, its path
        while queue:
            _, path = heappop(queue)
            if self._enter(root, class_folder, path):
                with os.scandir(root / path) as entries:
                    for entry in entries:
                        name = f"{path}/{entry.name}"
                        if self._ignored.covers(name):
                            continue
                        status = _status(entry)
                        if stat.S_ISDIR(status.st_mode) and not entry.name.lower().endswith(IMAGE_SUFFIXES):
                            heappush(queue, (entry.is_symlink(), name))
                        else:
                            yield name, status

    def _enter(self, root: Path, class_folder: str, path: str) -> bool:
        """Whether to list this folder: not if it was entered before by another path.

        Raises:
            DataError: it was entered as a folder of another class or split.
        """
        identity = _identity((root / path).stat())
        if identity in self._ancestors:
            return False
        first_root, first_class, first_path = self._entered.setdefault(identity, (root, class_folder, path))
        if (first_root, first_class) != (root, class_folder):
            raise DataError(
                f"{first_root / first_path} and {root / path} are the same folder, in two classes or splits.",
                "Remove one of them.",
            )
        return first_path == path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)  # the link's own: its target does not exist


def scan(
    directory: Path,
    folders: Sequence[str | None],
    walk: Walk,
    *,
    allow_missing: bool = False,
    heartbeat: Callable[[], None] = lambda: None,
) -> FileTable:
    """List every file in the class folders of `directory` and below, in no particular order.

    A folder that is named like an image is listed as a file, so that it is rejected and not overlooked.

    Args:
        folders: the folder of each class in the order of labels, or None if the class has none here.
        allow_missing: classes may have no files, but not all of them.
        heartbeat: called for each file.

    Raises:
        DataError: a class has no files, or two classes share a folder.
    """
    names, ends = bytearray(), array("q")
    columns = array("i"), array("q"), array("q")
    for label, folder in enumerate(folders, start=1):
        before = len(ends)
        for path, status in walk.files(directory, folder) if folder else ():
            heartbeat()
            names += os.fsencode(path)
            ends.append(len(names))
            for column, value in zip(columns, (label, status.st_size, status.st_mtime_ns), strict=True):
                column.append(value)
        if len(ends) == before and folder and not allow_missing:
            raise DataError(f"The class folder {directory / folder} holds no images.", "Add images, or remove the folder.")
    if not ends:
        raise DataError(f"No class folder in {directory} holds images.", "Add images, or leave out the flag that names it.")
    return FileTable(names, np.array(ends, np.int64), *(np.array(column) for column in columns))
