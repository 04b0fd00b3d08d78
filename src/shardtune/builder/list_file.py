"""Read a list of images: CSV or TSV, as people and pandas write them, or JSON lines."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from shardtune.builder.labels import class_name, is_class_name
from shardtune.dataset.splits import Split
from shardtune.errors import DataError

MAX_LINES_SHOWN = 10
# The names that a column may have, the first that is there. They are compared in lower case, with _ for spaces and hyphens.
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path"),
    "label": ("label", "class", "class_name", "label_name", "category", "synset"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "group_id"),
}
SPLIT_NAMES: dict[str, Split] = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
_DELIMITERS = (",", "\t", ";")
_UNTIDY = re.compile(r"//|(^|/)\.(/|$)|/$")
_PANDAS_INDEX = ("", "unnamed:_0", "index")


class LineErrors:
    """What is wrong with the lines of a list: all are counted, the first few kept.

    Args:
        path: of the list.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._first, self._count = path, list[str](), 0

    def add(self, line: int, problem: str) -> None:
        self._count += 1
        if len(self._first) < MAX_LINES_SHOWN:
            self._first.append(f"line {line}: {problem}")

    def raise_if_any(self, advice: str) -> None:
        """Raise DataError if there is an error."""
        if self._count:
            more = f" and {self._count - len(self._first)} more" if self._count > len(self._first) else ""
            raise DataError(f"{self._path} has {self._count} wrong line(s): {', '.join(self._first)}{more}.", advice)


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a list.

    Attributes:
        line: number of its line, from 1.
        path: as it is written, without "." and repeated slashes.
        label: class name.
        split: "train" if the list has no splits.
        group: None if the list has no groups.
    """

    line: int
    path: str
    label: str
    split: Split
    group: str | None


@dataclass(frozen=True)
class ListFile:
    """An open list.

    Attributes:
        columns: the name in the file of each of `COLUMNS` that it has.
        ignored: names of its other columns.
        rows: each image, once; lines that are none are in `errors` by then.
    """

    columns: Mapping[str, str]
    ignored: Sequence[str]
    rows: Iterator[Row]


def open_list(file: Iterable[str], path: Path, errors: LineErrors) -> ListFile:
    """Find out what a list has, to read it line by line.

    Args:
        file: its lines, with their ends as they are.
        path: of the list, for errors.
        errors: takes lines that are no images.

    Raises:
        DataError: no line of it says which columns it has.
    """
    following = iter(file)
    first = next(following, "")
    lines = chain([first], following)  # not seek: the list may come from a pipe
    if first.lstrip().startswith("["):
        raise DataError(f"{path} is a JSON array.", "Give JSON lines, which pandas writes with orient='records', lines=True.")
    if first.lstrip().startswith("{"):
        records = _json_records(lines, errors)
        names = _names_of_json(first, path)
    else:
        delimiter, names = _header(first, path)
        records = _csv_records(lines, delimiter, errors)
    columns = _find_columns(names)
    for role in ("path", "label"):
        if role not in columns:
            raise DataError(
                f"The first line of {path} names no column of {role}s: {first.strip()!r}.",
                "Its first line must name the columns, as in path,label or path,label,split,group.",
            )
    ignored = [name for name in names if name not in columns.values() and _normalize(name) not in _PANDAS_INDEX]
    return ListFile(columns, ignored, _rows(records, frozenset(names), columns, errors))


def _header(line: str, path: Path) -> tuple[str, list[str]]:
    """The delimiter of a CSV file with this first line, and the names in it."""
    by_delimiter = {delimiter: next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), []) for delimiter in _DELIMITERS}
    delimiter = max(by_delimiter, key=lambda each: (len(_find_columns(by_delimiter[each])), len(by_delimiter[each])))
    names = by_delimiter[delimiter]
    repeated = [name for name in names if name and names.count(name) > 1]
    if repeated:
        raise DataError(f"{path} has two columns {repeated[0]!r}.", "Rename or remove one of them.")
    return delimiter, names


def _names_of_json(line: str, path: Path) -> list[str]:
    try:
        return list(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"Line 1 of {path} is not a JSON object: {error}.",
            'Give an object a line, as in {"path": "a.jpg", "label": "cat"}.',
        ) from error


def _normalize(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _find_columns(names: Sequence[str]) -> dict[str, str]:
    """The name in the file of each of `COLUMNS` that it has."""
    by_form = {_normalize(name): name for name in reversed(names)}
    found = {role: next((by_form[form] for form in forms if form in by_form), None) for role, forms in COLUMNS.items()}
    return {role: name for role, name in found.items() if name is not None}


def _csv_records(lines: Iterable[str], delimiter: str, errors: LineErrors) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line, and values by name, of each row."""
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    header, line = next(rows), rows.line_num + 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:  # what follows cannot be told apart
            errors.add(line, f"{error}; the lines after it were not read")
            return
        if row is None:
            return
        if len(row) == len(header):
            yield line, dict(zip(header, row, strict=True))
        elif row:
            errors.add(line, f"{len(row)} columns instead of {len(header)}")
        line = rows.line_num + 1


def _json_records(lines: Iterable[str], errors: LineErrors) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and object of each line."""
    for line, text in enumerate(lines, start=1):
        if text.strip():
            try:
                value = json.loads(text)
                if not isinstance(value, dict):
                    raise ValueError("not an object")
            except (ValueError, RecursionError) as error:
                errors.add(line, f"no JSON object ({error})")
            else:
                yield line, value


def _rows(
    records: Iterator[tuple[int, dict[str, Any]]], names: frozenset[str], columns: Mapping[str, str], errors: LineErrors
) -> Iterator[Row]:
    for line, values in records:
        try:
            if values.keys() - names:  # columns that the first line has not
                others = sorted(_find_columns(list(values)).keys() - columns.keys())
                if others:
                    raise ValueError(f"it has a {others[0]}, the first line has none")
            text = {role: _text(values, role, name) for role, name in columns.items()}
            split = SPLIT_NAMES.get(_normalize(text["split"])) if "split" in text else "train"
            if split is None:
                raise ValueError(f"the split {text['split']!r} is none of train, validation and test")
            yield Row(line, _path(text["path"]), _label(text["label"]), split, _group(text.get("group")))
        except ValueError as error:
            errors.add(line, str(error))


def _group(text: str | None) -> str | None:
    """The name of a group, as those of classes are compared."""
    return None if text is None else class_name(text)


def _text(values: Mapping[str, Any], role: str, name: str) -> str:
    """The value of a column as text.

    Raises:
        ValueError: it is empty, or neither text nor a whole number.
    """
    value = values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"no {role}")
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"the {role} {value!r} is not text")
    return str(value)


def _path(text: str) -> str:
    """A path without what does not change it.

    Raises:
        ValueError: no file has this path.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the path {text!r} is not Unicode") from None
    if "\0" in text:
        raise ValueError(f"the path {text!r} has a null character")
    return str(PurePosixPath(text)) if _UNTIDY.search(text) else text


@lru_cache(maxsize=1 << 12)
def _label(text: str) -> str:
    """The class of a label.

    Raises:
        ValueError: it cannot be a line of labels.txt.
    """
    name = class_name(text)
    if not is_class_name(name):
        raise ValueError(f"the label {text!r} is not one line of UTF-8")
    return name
