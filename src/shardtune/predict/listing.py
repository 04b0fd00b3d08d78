"""The images to predict, in the order in which they are named."""

import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from shardtune.dataset.columns import RECORDS_NAME
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.images.ignored import Ignored
from shardtune.runtime.files import exists

STDIN = "-"
ITEMS_AHEAD = 10_000  # that are listed and not yet taken: a megabyte of paths
PATIENCE_SECONDS = 0.2  # in which more paths come, or those that are there are taken without them


class Item(NamedTuple):
    """A file, an example of a data directory, or the content of a file.

    Attributes:
        path: of the file or of the data directory; empty where neither is known.
        example: its number in its split; None of a file.
        content: bytes, where the file is not to be read.
        error: why it cannot be read, where that is known already; else "".
    """

    path: str
    example: int | None = None
    content: bytes | None = None
    error: str = ""


def list_items(paths: Iterable[str], subset: Split, stdin: IO[bytes]) -> Iterator[Item]:
    """The images that `paths` name: of a folder those below it, in the order of their names, without hidden and system files;
    of a pattern that is no file itself, what it matches; of `-` a file for each line of `stdin`; of a data directory its
    examples.

    A path that names nothing is given as it is, so that reading it says so.

    Raises:
        DataError: while it yields: a data directory is damaged.
    """
    ignored = Ignored()
    for path in paths:
        if path == STDIN:
            yield from (Item(os.fsdecode(name)) for line in stdin if (name := line.rstrip(b"\n")))
        else:
            for match in _matches(path, ignored):
                yield from _below(match, subset, ignored)


def _matches(path: str, ignored: Ignored) -> list[str]:
    """What a pattern matches, without what lies below another match; the path itself if it exists or nothing matches."""
    pattern = Path(path)
    if exists(pattern):
        return [path]
    try:
        # Not the module glob: its ** follows links, and never ends where they lead in circles.
        found = {str(match) for match in Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor)))}
    except (ValueError, IndexError, NotImplementedError, OSError):  # no pattern
        found = set()
    typed = {part for part in pattern.parts if part.startswith(".")}  # who types a dot asks for hidden files
    shown = (match for match in found if typed - {".."} or not any(map(ignored.covers, set(Path(match).parts) - typed)))
    return sorted(match for match in shown if not any(str(folder) in found for folder in Path(match).parents)) or [path]


def _below(path: str, subset: Split, ignored: Ignored) -> Iterator[Item]:
    folder = Path(path)
    if exists(folder / MANIFEST_NAME) and exists(folder / RECORDS_NAME):
        yield from (Item(path, number) for number in range(Manifest.load(folder).examples(subset)))
    elif _identity(folder):
        if any(folder.glob(f"{subset}-?????-of-?????")):
            raise DataError(
                f"{path} has shards without a {MANIFEST_NAME}, as another tool leaves them.",
                "Name the images they were made from.",
            )
        yield from map(Item, _walk(path, ignored, frozenset(map(_identity, folder.resolve().parents))))
    else:
        yield Item(path)


def _walk(folder: str, ignored: Ignored, above: frozenset[tuple[int, int] | None]) -> Iterator[str]:
    """The files of a folder and below. Links are followed, but not to a folder above them. A folder that cannot be read is
    given as it is.

    Args:
        above: the folders above this one.
    """
    identity = _identity(Path(folder))
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry)) for entry in entries if not ignored.covers(entry.name))
    except OSError:
        yield folder
        return
    for name, is_folder in found if identity not in above else ():
        path = f"{folder.rstrip('/')}/{name}"
        if is_folder:
            yield from _walk(path, ignored, above | {identity})
        else:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into a place that cannot be seen
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and number of a folder; None of what is no folder, or cannot be seen."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


class Listing:
    """Lists ahead on a thread, so that a slow disk, or a slow program before stdin, holds up nothing that is already listed.

    Attributes:
        has_ended: whether all have been taken.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.has_ended = False
        self._error: Exception | None = None
        self._queue: queue.Queue[Item | Exception | None] = queue.Queue(ITEMS_AHEAD)
        threading.Thread(target=self._list, args=(items,), name="listing", daemon=True).start()

    def take(self, count: int, heartbeat: Callable[[], None], *, wait: bool) -> list[Item]:
        """The next `count` items, or fewer if more do not come soon.

        Args:
            heartbeat: called while it waits.
            wait: for the first item, however long it takes: nothing else is to be done.

        Raises:
            DataError: see `list_items`; when `wait`, so that all that was listed before is written first.
        """
        items: list[Item] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while len(items) < count and not self.has_ended and not self._error:
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                if items or not wait:
                    break
                heartbeat()
                until = time.monotonic() + PATIENCE_SECONDS
                continue
            if isinstance(item, Exception):
                self._error = item
            elif item is None:
                self.has_ended = True
            else:
                items.append(item)
        if self._error and wait and not items:
            raise self._error
        return items

    def _list(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                self._queue.put(item)
            self._queue.put(None)
        except Exception as error:
            self._queue.put(error)
