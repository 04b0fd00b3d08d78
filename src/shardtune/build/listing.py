"""The image files of a data set, as columns: a million objects would take a gigabyte, and these take 70 MB."""

import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Listing:
    """Files below one directory.

    Attributes:
        names: their paths relative to the directory, with forward slashes, in UTF-8, end to end.
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
        return self.name(index).decode()

    def take(self, indices: npt.NDArray[Any]) -> "Listing":
        """The files numbered `indices`, in that order."""
        names = bytearray()
        ends = np.empty(len(indices), np.int64)
        for position, index in enumerate(indices):
            names += self.name(index)
            ends[position] = len(names)
        return Listing(names, ends, self.labels[indices], self.sizes[indices], self.mtimes[indices])


def scan(directory: Path, labels: Sequence[str], *, may_lack: bool = False) -> Listing:
    """Every file in the class folders of `directory` and below, in no particular order; hidden ones are left out.

    A folder that is named like an image is listed like one, so that it is rejected and not overlooked.

    Args:
        may_lack: classes may have no folder, or no files, but not all of them.

    Raises:
        DataError: a class has no files, or a name is not UTF-8.
    """
    names, ends = bytearray(), array("q")
    columns = array("i"), array("q"), array("q")
    for label, name in enumerate(labels, start=1):
        before = len(ends)
        if may_lack and not (directory / name).exists():
            continue
        for path, status in _files(directory / name, name, frozenset()):
            try:
                names += path.encode()
            except UnicodeEncodeError:
                raise DataError(f"A file name is UTF-8, but {directory} has {path!r}: rename it.") from None
            ends.append(len(names))
            for column, value in zip(columns, (label, status.st_size, status.st_mtime_ns), strict=True):
                column.append(value)
        if len(ends) == before and not may_lack:
            raise DataError(f"Each class has at least one image, but {directory / name} is empty: add images or remove it.")
    if not ends:
        raise DataError(f"One class at least has images, but {directory} has none: add images, or do not give it.")
    return Listing(names, np.array(ends, np.int64), *(np.array(column) for column in columns))


def _files(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    """Relative path and status of each file below `folder`; a link that leads back to a folder above is not followed."""
    own = folder.stat()
    identity = own.st_dev, own.st_ino
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{prefix}/{entry.name}"
            try:
                status = entry.stat()
            except OSError:
                status = entry.stat(follow_symlinks=False)  # of a link that leads nowhere
            if stat.S_ISDIR(status.st_mode) and not entry.name.lower().endswith(IMAGE_SUFFIXES):
                yield from _files(Path(entry.path), path, above | {identity})
            else:
                yield path, status
