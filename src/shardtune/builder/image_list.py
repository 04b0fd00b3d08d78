"""The images that a list names, as tables: the same that folders give."""

import csv
import os
import stat
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import xxhash

from shardtune.builder.labels import read_labels
from shardtune.builder.list_file import LineErrors, ListFile, open_list
from shardtune.builder.listing import FILES_AHEAD, FileTable, in_parts
from shardtune.builder.partition import Digests, group_by_digest, order_digests, sort_digests, to_digests
from shardtune.dataset.splits import SPLITS, Split
from shardtune.errors import DataError
from shardtune.runtime.ahead import Ahead


@dataclass(frozen=True)
class ImageList:
    """What a list names.

    Attributes:
        root: the folder to which its paths are relative.
        labels: class names, in the order of their numbers.
        tables: the images of each split that has any, in the order of the data set.
        notes: sentences that say how the list was read.
    """

    root: Path
    labels: list[str]
    tables: dict[Split, FileTable]
    notes: list[str]


class _Columns:
    """The rows of a list, not as objects: with paths of 45 bytes, a list takes 180 bytes a line at the peak."""

    def __init__(self) -> None:
        self.names, self.ends = bytearray(), array("q")
        self.lines, self.labels, self.splits = array("q"), array("i"), array("b")
        self.groups = bytearray()
        self.label_numbers: dict[str, int] = {}

    def read(self, file: ListFile, heartbeat: Callable[[], None]) -> None:
        for row in file.rows:
            heartbeat()
            self.names += os.fsencode(row.path)
            self.ends.append(len(self.names))
            self.lines.append(row.line)
            self.labels.append(self.label_numbers.setdefault(row.label, len(self.label_numbers)))
            self.splits.append(SPLITS.index(row.split))
            if row.group is not None:
                self.groups += xxhash.xxh3_128_digest(row.group.encode("utf-8", "surrogatepass"))

    def table(self) -> FileTable:
        """All rows, in the order of the list; sizes and times are 0, and labels numbers of `label_numbers`."""
        count = len(self.ends)
        groups = to_digests(bytes(self.groups)) if self.groups else None
        sizes, mtimes = np.zeros(count, np.int64), np.zeros(count, np.int64)
        return FileTable(self.names, np.array(self.ends, np.int64), np.array(self.labels, np.int32), sizes, mtimes, groups)


def read_image_list(
    path: Path,
    root: Path | None,
    labels_file: Path | None,
    seed: int,
    *,
    ignore_unlisted: bool = False,
    heartbeat: Callable[[], None] = lambda: None,
) -> ImageList:
    """Read a list and look for its images.

    Args:
        root: the folder to which its paths are relative; without it, that of the list.
        labels_file: the classes in order; without it, the labels of the list, sorted.
        ignore_unlisted: leave out images whose label `labels_file` does not have.
        heartbeat: called again and again.

    Raises:
        DataError: the list cannot be read, lines of it are wrong, or a class has no training image.
    """
    folder, errors, columns = root or path.parent, LineErrors(path), _Columns()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            opened = open_list(file, path, errors)
            columns.read(opened, heartbeat)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The list {path} cannot be read: {error}.", "Give a CSV, TSV or JSON lines file in UTF-8.") from error
    table, lines, splits = columns.table(), np.array(columns.lines), np.array(columns.splits)
    label_numbers = columns.label_numbers
    del columns  # millions of files should not be in memory twice
    labels = read_labels(labels_file) if labels_file else sorted(label_numbers)
    numbers = {name: number for number, name in enumerate(labels, start=1)}
    names = list(label_numbers)
    new_labels = np.array([numbers.get(name, 0) for name in names], np.int32)[table.labels]
    unlisted = np.flatnonzero(new_labels == 0)
    if not ignore_unlisted:
        for row in unlisted.tolist():
            errors.add(int(lines[row]), f"the label {names[table.labels[row]]!r} is not in {labels_file}")
    table = replace(table, labels=new_labels)
    if len(unlisted):
        listed = np.flatnonzero(new_labels)
        table, lines, splits = table.take(listed), lines[listed], splits[listed]
    identities = _look_for_files(table, folder, lines, errors, heartbeat)
    _look_for_repeated(table, folder, identities, lines, errors)
    errors.raise_if_any(
        f"Correct or remove them. Paths ({opened.columns['path']!r}) are relative to {folder.absolute()}: --image_root gives "
        f"another folder. Labels are in {opened.columns['label']!r}."
    )
    order = sort_digests(order_digests(table, seed))
    tables = {split: table.take(rows) for number, split in enumerate(SPLITS) if len(rows := order[splits[order] == number])}
    _check_training_images(path, labels, tables.get("train"))
    return ImageList(folder, labels, tables, _notes(path, opened, len(table), len(unlisted)))


def _look_for_files(
    table: FileTable, folder: Path, lines: np.ndarray, errors: LineErrors, heartbeat: Callable[[], None]
) -> Digests:
    """Put the size and time of each file into the table. Returns inode and device of each, zeros where there is no file."""
    identities = np.zeros((len(table), 2), np.uint64)
    parts = ((rows, len(rows)) for rows in in_parts(range(len(table))))
    with Ahead(partial(_look_for, table, identities, folder), parts, FILES_AHEAD) as found:
        for problems in found:
            heartbeat()
            for row, problem in problems:
                errors.add(int(lines[row]), f"{table.path(row)!r} is {problem}")
    return identities


def _look_for(table: FileTable, identities: Digests, folder: Path, rows: Iterable[int]) -> list[tuple[int, str]]:
    """See `_look_for_files`. Returns the rows that are no files, and what they are instead."""
    problems = []
    for row in rows:
        try:
            status = os.stat(os.path.join(folder, table.path(row)))  # noqa: PTH116, PTH118 (a Path takes longer than the rest)
            if stat.S_ISDIR(status.st_mode):
                problems.append((row, "a directory"))
            else:
                identities[row, 0], identities[row, 1] = status.st_ino, status.st_dev
            table.sizes[row], table.mtimes[row] = status.st_size, status.st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            problems.append((row, "no file"))
        except OSError as error:
            problems.append((row, f"no file that can be read ({error.strerror})"))
    return problems


def _look_for_repeated(table: FileTable, folder: Path, identities: Digests, lines: np.ndarray, errors: LineErrors) -> None:
    """Find files that are in several lines, also by other paths. Hard links are files of their own.

    Args:
        identities: see `_look_for_files`. Some file systems give two files the same: the path without links decides.
    """
    rows = np.flatnonzero(identities.any(axis=1))
    groups = group_by_digest(identities[rows])
    first_rows: dict[str, int] = {}
    for row in rows[np.bincount(groups)[groups] > 1].tolist():
        path = table.path(row)
        first = first_rows.setdefault(os.path.realpath(os.path.join(folder, path)), row)  # noqa: PTH118 (as above)
        if first != row:
            before = table.path(first)
            errors.add(
                int(lines[row]), f"{path!r} is in line {lines[first]} already{'' if path == before else f', as {before!r}'}"
            )


def _check_training_images(path: Path, labels: Sequence[str], files: FileTable | None) -> None:
    counts = np.bincount(files.labels if files else [], minlength=len(labels) + 1)[1:]
    missing = [name for name, count in zip(labels, counts, strict=True) if not count]
    if files is None or missing:
        what = f"training image of {len(missing)} of {len(labels)} classes (first {missing[0]})" if missing else "image"
        raise DataError(f"{path} lists no {what}.", "Add images, or remove these classes from the list and the labels_file.")


def _notes(path: Path, file: ListFile, images: int, unlisted: int) -> list[str]:
    names = ", ".join(f"{role} from {name!r}" for role, name in file.columns.items())
    ignored = f"; ignored: {', '.join(map(repr, file.ignored))}" if file.ignored else ""
    notes = [f"{path}: {images} images, {names}{ignored}."]
    return [*notes, f"Left out, because labels_file does not have their class: {unlisted} images."] if unlisted else notes
