"""Read the source files of images ahead of the thread that uses them: on slow storage, several at once."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from shardtune.builder.listing import FileTable
from shardtune.images.source import MAX_BYTES, RejectedError, read_source
from shardtune.runtime.ahead import Ahead

AHEAD_BYTES = 1 << 26  # of files that were read and are not yet used, or are being read, on each rank
FILE_BYTES = 1 << 10  # what a file costs besides its content

Kept = dict[tuple[Path, str], bytes]  # content of files that were read before, by directory and path
_Listed = tuple[Path, str, int, int]  # directory, path, and as it was listed: bytes (MAX_BYTES at most), time in nanoseconds


class SourceReader:
    """A context in which the files of tables are read, in order.

    Args:
        tables: each with the directory that its paths are relative to.
        kept: files that need not be opened again if they are as they were listed; they are removed as they are used.
    """

    def __init__(self, tables: Iterable[tuple[Path, FileTable]], kept: Kept | None = None) -> None:
        self._kept = {} if kept is None else kept
        self._ahead = Ahead(self._read, _files(tables), AHEAD_BYTES)

    def __enter__(self) -> "SourceReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ahead.__exit__(kind, error, trace)

    def read(self, root: Path, path: str) -> bytes:
        """The bytes of the next file.

        Args:
            root, path: of this file; it is read again here if it is larger than it was listed.

        Raises:
            RejectedError: name, unreadable, empty or too_large.
        """
        try:
            return next(self._ahead)
        except RejectedError as error:
            if error.code != "too_large":
                raise
        return read_source(root, path)

    def _read(self, file: _Listed) -> bytes:
        data = self._kept.pop(file[:2], None)
        return read_source(*file[:3]) if data is None or _has_changed(*file) else data


def _files(tables: Iterable[tuple[Path, FileTable]]) -> Iterator[tuple[_Listed, int]]:
    for root, table in tables:
        for index in range(len(table)):
            size = min(int(table.sizes[index]), MAX_BYTES)
            yield (root, table.path(index), size, int(table.mtimes[index])), size + FILE_BYTES


def _has_changed(root: Path, path: str, size: int, mtime: int) -> bool:
    try:
        status = (root / path).stat()
    except OSError:
        return True
    return (status.st_size, status.st_mtime_ns) != (size, mtime)
