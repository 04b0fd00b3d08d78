"""The image files of a data set, as columns: a million objects would take a gigabyte, and these take 70 MB."""

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

from shardtune.builder.ignored import Ignored
from shardtune.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class FileTable:
    """Files below one directory.

    Attributes:
        names: their paths relative to the directory, with forward slashes, as the file system has them, end to end.
        ends: where each path ends in `names`, int64 [files].
        labels: class numbers from 1, int32 [files].
        sizes: bytes, int64 [files].
        mtimes: modification times in nanoseconds, int64 [files].
    """

    names: bytes | bytearray
    ends: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]
    mtimes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, index: int) -> bytes:
        return bytes(self.names[self.ends[index - 1] if index else 0 : self.ends[index]])

    def path(self, index: int) -> str:
        """As the calls of the system take it; see `printable_path`."""
        return os.fsdecode(self.name(index))

    def take(self, indices: npt.NDArray[Any]) -> "FileTable":
        """The files numbered `indices`, in that order."""
        names = bytearray()
        ends = np.empty(len(indices), np.int64)
        for position, index in enumerate(indices):
            names += self.name(index)
            ends[position] = len(names)
        return FileTable(names, ends, self.labels[indices], self.sizes[indices], self.mtimes[indices])


def printable_path(path: str) -> str:
    """A path as UTF-8 text: bytes of it that are none become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Walk:
    """A walk through the folders of classes that enters each folder once, whatever links lead there.

    Args:
        roots: the directories of all splits. A link to one of them, or to a folder above, is not followed.
        ignored: which files and folders to leave out.
    """

    def __init__(self, roots: Iterable[Path], ignored: Ignored) -> None:
        folders = {folder for root in map(Path.resolve, roots) for folder in (root, *root.parents)}
        self._above = {_identity(folder.stat()) for folder in folders}
        self._ignored = ignored
        self._entered: dict[tuple[int, int], tuple[Path, str, str]] = {}

    def files(self, root: Path, class_folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """Path from `root` and status of each file in a class folder and below.

        Of several ways to a folder, one without links counts, or else the first of them in alphabetical order.

        Raises:
            DataError: a folder is in another class too, or in another split.
        """
        waiting = [(False, class_folder)]  # a heap: whether a link leads there, and the path
        while waiting:
            _, path = heappop(waiting)
            if self._enter(root, class_folder, path):
                with os.scandir(root / path) as entries:
                    for entry in entries:
                        name = f"{path}/{entry.name}"
                        if self._ignored.covers(name):
                            continue
                        status = _status(entry)
                        if stat.S_ISDIR(status.st_mode) and not entry.name.lower().endswith(IMAGE_SUFFIXES):
                            heappush(waiting, (entry.is_symlink(), name))
                        else:
                            yield name, status

    def _enter(self, root: Path, class_folder: str, path: str) -> bool:
        """Whether to; a folder of the same class that was entered before is not entered again."""
        identity = _identity((root / path).stat())
        if identity in self._above:
            return False
        before = self._entered.setdefault(identity, (root, class_folder, path))
        if before[:2] != (root, class_folder):
            raise DataError(
                f"A folder of images belongs to one class of one split, but {before[0] / before[2]} and {root / path} are the "
                f"same folder: remove one of them."
            )
        return before[2] == path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)  # of a link that leads nowhere


def scan(
    directory: Path,
    folders: Sequence[str | None],
    walk: Walk,
    *,
    may_lack: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> FileTable:
    """Every file in the class folders of `directory` and below, in no particular order.

    A folder that is named like an image is listed like one, so that it is rejected and not overlooked.

    Args:
        folders: of each class in the order of labels, or None where it has none here.
        may_lack: classes may have no files, but not all of them.
        beat: called for each file.

    Raises:
        DataError: a class has no files, or two classes have the same ones.
    """
    names, ends = bytearray(), array("q")
    columns = array("i"), array("q"), array("q")
    for label, folder in enumerate(folders, start=1):
        before = len(ends)
        for path, status in walk.files(directory, folder) if folder else ():
            beat()
            names += os.fsencode(path)
            ends.append(len(names))
            for column, value in zip(columns, (label, status.st_size, status.st_mtime_ns), strict=True):
                column.append(value)
        if len(ends) == before and folder and not may_lack:
            raise DataError(f"Each class has at least one image, but {directory / folder} is empty: add images or remove it.")
    if not ends:
        raise DataError(f"One class at least has images, but {directory} has none: add images, or do not give it.")
    return FileTable(names, np.array(ends, np.int64), *(np.array(column) for column in columns))
