"""Read bounding boxes from a CSV file like that of research/inception's build_imagenet_data.py, and find their images.

Each line is `filename,xmin,ymin,xmax,ymax`, optionally followed by a label. A header of these names may come first.
"""

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shardtune.errors import DataError

HEADER = ["filename", "xmin", "ymin", "xmax", "ymax", "label"]
MAX_LINES_LISTED = 10


@dataclass(frozen=True, slots=True)
class Box:
    """One object in an image.

    Attributes:
        xmin, ymin, xmax, ymax: distances from the left and from the top of the upright image, as fractions of its width and
            height, rounded to 32-bit floats.
        label: class number, or None for the label of the image.
        filename: the image's name in the CSV file.
        line: line number in the CSV file, from 1.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    label: int | None
    filename: str
    line: int

    def is_equivalent(self, other: "Box", label: int) -> bool:
        """Whether both boxes have the same sides and label in an image whose label is `label`."""
        labels = {label if box.label is None else box.label for box in (self, other)}
        sides = {(box.xmin, box.ymin, box.xmax, box.ymax) for box in (self, other)}
        return len(labels) == len(sides) == 1


def read_boxes(path: Path, names: Sequence[str]) -> list[Box]:
    """The boxes of a CSV file, in its order.

    Args:
        names: class names; the first has number 1.

    Raises:
        DataError: the file cannot be read, or has lines that are not boxes, of which it lists up to 10.
    """
    numbers = {str(number): number for number in range(1, len(names) + 1)}
    # Names replace numbers: if a class is named 3, "3" is that class.
    numbers |= {name: number for number, name in enumerate(names, start=1)}
    boxes, errors = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            for row in lines:
                if row and not (lines.line_num == 1 and row in (HEADER, HEADER[:-1])):
                    try:
                        boxes.append(_parse_box(row, numbers, lines.line_num))
                    except ValueError as error:
                        errors.append(f"line {lines.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The bounding box file {path} cannot be read: {error}.", "Give a CSV file in UTF-8.") from error
    if errors:
        raise DataError(
            f"{path} has lines that are not bounding boxes: {_join_first(errors)}.",
            "Correct or remove them. A box is filename,xmin,ymin,xmax,ymax[,label] with 0 <= min < max <= 1.",
        )
    return boxes


def match_boxes(boxes: Sequence[Box], paths: Iterable[str], *, ignore_unlisted: bool = False) -> dict[str, list[Box]]:
    """The boxes of each path that has any.

    A box names an image by its path or by the last part of it, with or without the extension, in any Unicode normal form. If a
    name matches several images in different ways, the most specific way counts: the whole path, the path without extension,
    the last part, the last part without extension.

    Args:
        boxes: in any order; the boxes of one path keep theirs.
        paths: of all images of all splits, relative to their split's directory.
        ignore_unlisted: leave out boxes that match no image.

    Raises:
        DataError: boxes match no image, or several; it lists up to 10 of them.
    """
    matches_of: dict[str, list[tuple[int, str]]] = {_normalize(box.filename): [] for box in boxes}  # (way, path), 0 is best
    for path in paths:
        full = _normalize(path)
        folder, slash, name = full.rpartition("/")
        stem = name.rpartition(".")[0] or name
        for way, form in enumerate((full, f"{folder}{slash}{stem}", name, stem)):
            if form in matches_of:
                matches_of[form].append((way, path))
    boxes_of: dict[str, list[Box]] = {}
    errors = []
    for box in boxes:
        matches = matches_of[_normalize(box.filename)]
        best = min(matches, default=(0, ""))[0]
        best_paths = [path for way, path in matches if way == best]
        if len(best_paths) == 1:
            boxes_of.setdefault(best_paths[0], []).append(box)
        elif best_paths or not ignore_unlisted:
            errors.append(f"line {box.line}: {box.filename!r} matches {' and '.join(best_paths[:2]) or 'no image'}")
    if errors:
        raise DataError(
            f"bounding_box_file has boxes that do not match exactly one image: {_join_first(errors)}.",
            "Give a path that only one image of train_directory and validation_directory has, or remove these lines. With a "
            "--labels_file and --ignore_unlisted, boxes of images that are not there are left out.",
        )
    return boxes_of


def _parse_box(row: list[str], numbers: dict[str, int], line: int) -> Box:
    """The box of one line of the file.

    Raises:
        ValueError: the line is not a box.
    """
    if len(row) not in (5, 6):
        raise ValueError(f"{len(row)} columns")
    with np.errstate(over="ignore"):  # the result, infinity, is refused below
        # Rounded as when stored: a box that is not empty now is not empty then.
        xmin, ymin, xmax, ymax = (float(np.float32(value)) for value in row[1:5])
    for low, high, axis in ((xmin, xmax, "x"), (ymin, ymax, "y")):
        if not 0 <= low < high <= 1:
            raise ValueError(f"{axis} from {low:g} to {high:g}")
    label = row[5].strip() if len(row) == 6 else ""
    if label and label not in numbers:
        raise ValueError(f"no class {label!r}")
    return Box(xmin, ymin, xmax, ymax, numbers[label] if label else None, row[0], line)


def _normalize(name: str) -> str:
    """The composed form (NFC): some file systems and editors write an accent separately from its letter."""
    return unicodedata.normalize("NFC", name)


def _join_first(errors: list[str]) -> str:
    """The first errors, and how many more there are."""
    more = len(errors) - MAX_LINES_LISTED
    return ", ".join(errors[:MAX_LINES_LISTED]) + (f" and {more} more" if more > 0 else "")
