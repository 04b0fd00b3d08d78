"""The image files of a data set as a table of columns: of a million files it takes 70 MB, objects would take a gigabyte."""

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from shardtune.errors import DataError
from shardtune.images.ignored import Ignored
from shardtune.runtime.ahead import Ahead

CHUNK_FILES = 1 << 12  # so that temporary arrays stay small with a million files
FILES_AT_ONCE = 4  # of which one thread asks for the statuses
FILES_AHEAD = 1 << 14  # of which the statuses may wait to be used
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")

Item = TypeVar("Item")
File = tuple[str, "os.DirEntry[str]"]  # its path relative to the directory that is listed, and where its status comes from


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
        hashes: of the files of each label, see `recipe.class_hashes`; empty if they were not computed.
    """

    names: bytes | bytearray
    ends: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]
    mtimes: npt.NDArray[np.int64]
    groups: npt.NDArray[np.uint64] | None = None
    hashes: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, index: int) -> bytes:
        """The path of a file in the file system's bytes."""
        return bytes(self.names[self.ends[index - 1] if index else 0 : self.ends[index]])

    def path(self, index: int) -> str:
        """The path of a file as functions of `os` take it; it may not be text (see `printable_path`)."""
        return os.fsdecode(self.name(index))

    @staticmethod
    def concatenate(tables: list["FileTable"]) -> "FileTable":
        """One table of several without groups, removed from the list: millions of files should not be in memory twice."""
        columns = [vars(tables.pop(0)).copy() for _ in range(len(tables))]
        starts = np.cumsum([0, *(len(table["names"]) for table in columns)])
        names = b"".join([table.pop("names") for table in columns])
        ends = np.concatenate([table.pop("ends") + start for table, start in zip(columns, starts[:-1], strict=True)])
        labels, sizes, mtimes = (
            np.concatenate([table.pop(name) for table in columns]) for name in ("labels", "sizes", "mtimes")
        )
        return FileTable(names, ends, labels, sizes, mtimes)

    def take(self, indices: npt.NDArray[Any]) -> "FileTable":
        """A table of the files in rows `indices`, in that order."""
        ends = np.empty(len(indices), np.int64)
        chunks = [slice(first, first + CHUNK_FILES) for first in range(0, len(indices), CHUNK_FILES)]
        end = 0
        for rows in chunks:
            ends[rows] = end + np.cumsum(self.ends[indices[rows]] - self._starts(indices[rows]))
            end = int(ends[rows][-1])
        names = bytearray(end)
        source, target = np.frombuffer(self.names, np.uint8), np.frombuffer(names, np.uint8)
        begin = 0
        for rows in chunks:
            starts = self._starts(indices[rows])
            lengths = self.ends[indices[rows]] - starts
            end = int(ends[rows][-1])
            target[begin:end] = source[np.arange(begin, end) + np.repeat(starts - (ends[rows] - lengths), lengths)]
            begin = end
        groups = None if self.groups is None else self.groups[indices]
        return FileTable(names, ends, self.labels[indices], self.sizes[indices], self.mtimes[indices], groups)

    def _starts(self, indices: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        return np.where(indices > 0, self.ends[indices - 1], 0)


def printable_path(path: str) -> str:
    """A path as UTF-8 text: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Walk:
    """Lists the files of class folders and enters each folder once, however many links lead to it.

    Args:
        roots: the directories of all splits. Links to one of them, or to a folder above it, are not followed.
        ignored: which files and folders to leave out.

    Attributes:
        folders: root and class folder of each folder that was entered, by its path without links, and by inode
            and time: one of them is the same on all hosts.
    """

    def __init__(self, roots: Iterable[Path], ignored: Ignored) -> None:
        folders = {folder for root in map(Path.resolve, roots) for folder in (root, *root.parents)}
        self._ancestors = {_identity(folder.stat()) for folder in folders}
        self._ignored = ignored
        self.folders: dict[str | tuple[int, int], tuple[Path, str]] = {}
        self._entered: dict[tuple[int, int], tuple[Path, str, str]] = {}

    def files(self, root: Path, class_folder: str) -> Iterator[File]:
        """The files in a class folder and below.

        If several paths lead to a folder, the one without links is used, or else the first in alphabetical order.

        Raises:
            DataError: a folder belongs to another class too, or to another split.
        """
        # A heap of: is it a link, its path, its path without links.
        queue = [(False, class_folder, os.path.realpath(root / class_folder))]
        while queue:
            _, path, real = heappop(queue)
            if self._enter(root, class_folder, path, real):
                links = list[File]()
                with os.scandir(root / path) as entries:
                    for entry in entries:
                        name = f"{path}/{entry.name}"
                        if self._ignored.covers(name):
                            continue
                        if entry.is_symlink():
                            links.append((name, entry))
                        elif entry.is_dir(follow_symlinks=False) and not _is_named_like_image(name):
                            heappush(queue, (False, name, f"{real}/{entry.name}"))
                        else:
                            yield name, entry
                for name, entry, status in _statuses(links):
                    if stat.S_ISDIR(status.st_mode) and not _is_named_like_image(name):
                        heappush(queue, (True, name, os.path.realpath(entry)))
                    else:
                        yield name, entry

    def _enter(self, root: Path, class_folder: str, path: str, real: str) -> bool:
        """Whether to list this folder: not if it was entered before by another path.

        Raises:
            DataError: it was entered as a folder of another class or split.
        """
        status = (root / path).stat()
        identity = _identity(status)
        if identity in self._ancestors:
            return False
        self.folders[real] = self.folders[status.st_ino, status.st_ctime_ns] = root, class_folder
        first_root, first_class, first_path = self._entered.setdefault(identity, (root, class_folder, path))
        if (first_root, first_class) != (root, class_folder):
            raise DataError(
                f"{first_root / first_path} and {root / path} are the same folder, in two classes or splits.",
                "Remove one of them.",
            )
        return first_path == path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_named_like_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def in_parts(files: Iterable[Item]) -> Iterator[list[Item]]:
    """These files, a few at a time: one thread asks for the statuses of so many."""
    files = iter(files)
    while part := list(islice(files, FILES_AT_ONCE)):
        yield part


def _statuses(files: list[File]) -> Iterator[tuple[str, "os.DirEntry[str]", os.stat_result]]:
    with Ahead(_stat_all, ((part, len(part)) for part in in_parts(files)), FILES_AHEAD) as parts:
        for part in parts:
            yield from part


def _stat_all(files: Sequence[File]) -> list[tuple[str, "os.DirEntry[str]", os.stat_result]]:
    return [(name, entry, _status(entry)) for name, entry in files]


def _status(entry: "os.DirEntry[str]") -> os.stat_result:
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
        allow_missing: classes may have no files.
        heartbeat: called often.

    Raises:
        DataError: a class has no files, or two classes share a folder.
    """
    names, ends = bytearray(), array("q")
    columns = array("i"), array("q"), array("q")

    def parts() -> Iterator[tuple[tuple[int, Sequence[File]], int]]:
        for label, folder in enumerate(folders, start=1):
            is_empty = True
            for files in in_parts(walk.files(directory, folder)) if folder else ():
                is_empty = False
                yield (label, files), len(files)
            if folder and is_empty and not allow_missing:
                raise DataError(f"The class folder {directory / folder} holds no images.", "Add images, or remove the folder.")

    with Ahead(lambda part: (part[0], _stat_all(part[1])), parts(), FILES_AHEAD) as found:
        for label, files in found:
            heartbeat()
            for path, _, status in files:
                names += os.fsencode(path)
                ends.append(len(names))
                for column, value in zip(columns, (label, status.st_size, status.st_mtime_ns), strict=True):
                    column.append(value)
    labels, sizes, mtimes = map(np.array, columns)
    return FileTable(names, np.array(ends, np.int64), labels, sizes, mtimes)
