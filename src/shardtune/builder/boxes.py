"""Bounding boxes from a CSV file, as research/inception's build_imagenet_data.py took them, and the images they belong to.

Each line is `filename,xmin,ymin,xmax,ymax` and may end in a label. A first line of just these names is left out.
"""

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shardtune.errors import DataError

HEADER = ["filename", "xmin", "ymin", "xmax", "ymax", "label"]
LINES_TOLD = 10


@dataclass(frozen=True, slots=True)
class Box:
    """One object in an image.

    Attributes:
        xmin, ymin, xmax, ymax: from the left and from the top of the upright image, as shares of its width and height;
            values of 32-bit floats.
        label: class number, or None for the label of the image.
        filename: of the image, as the CSV file has it.
        line: where in the CSV file, from 1.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    label: int | None
    filename: str
    line: int

    def is_like(self, other: "Box", label: int) -> bool:
        """Whether both mark the same in one image, whose label is `label`."""
        labels = {label if box.label is None else box.label for box in (self, other)}
        sides = {(box.xmin, box.ymin, box.xmax, box.ymax) for box in (self, other)}
        return len(labels) == len(sides) == 1


def read_boxes(path: Path, names: Sequence[str]) -> list[Box]:
    """The boxes of a CSV file in its order; `names` are those of the classes, the first has number 1.

    Raises:
        DataError: the file cannot be read, or lines of it are no boxes; names up to 10 of them.
    """
    numbers = {str(number): number for number in range(1, len(names) + 1)}
    numbers |= {name: number for number, name in enumerate(names, start=1)}  # last: a class named 3 is what "3" means
    boxes, wrong = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            for row in lines:
                if row and not (lines.line_num == 1 and row in (HEADER, HEADER[:-1])):
                    try:
                        boxes.append(_box(row, numbers, lines.line_num))
                    except ValueError as error:
                        wrong.append(f"line {lines.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"A bounding box file is CSV in UTF-8, but {path} cannot be read: {error}.") from error
    if wrong:
        raise DataError(
            f"A bounding box is filename,xmin,ymin,xmax,ymax[,label] with 0 <= min < max <= 1, but {path} has {_some(wrong)}: "
            f"correct or remove what is wrong."
        )
    return boxes


def match_boxes(boxes: Sequence[Box], paths: Iterable[str]) -> dict[str, list[Box]]:
    """The boxes of each path that has any.

    Args:
        boxes: in any order; those of one path keep theirs.
        paths: of all images of all splits, relative to their split's directory. A box names one by its path
            or by its last part, with or without the extension, however its letters are composed; where several fit,
            the fullest name counts.

    Raises:
        DataError: boxes name no image, or more than one; tells the lines of up to 10.
    """
    fitting: dict[str, list[tuple[int, str]]] = {_composed(box.filename): [] for box in boxes}
    for path in paths:
        whole = _composed(path)
        folder, slash, name = whole.rpartition("/")
        stem = name.rpartition(".")[0] or name
        for rank, form in enumerate((whole, f"{folder}{slash}{stem}", name, stem)):
            if form in fitting:
                fitting[form].append((rank, path))
    found: dict[str, list[Box]] = {}
    wrong = []
    for box in boxes:
        fits = fitting[_composed(box.filename)]
        fullest = min(fits, default=(0, ""))[0]
        meant = [path for rank, path in fits if rank == fullest]
        if len(meant) == 1:
            found.setdefault(meant[0], []).append(box)
        else:
            wrong.append(f"line {box.line}: {box.filename!r} is {' and '.join(meant[:2]) or 'none of them'}")
    if wrong:
        raise DataError(
            f"A bounding box belongs to one image of train_directory or validation_directory, but in bounding_box_file "
            f"{_some(wrong)}: give a path that only one image has, or remove these lines."
        )
    return found


def _box(row: list[str], numbers: dict[str, int], line: int) -> Box:
    """The box of one line.

    Raises:
        ValueError: says what is wrong with it.
    """
    if len(row) not in (5, 6):
        raise ValueError(f"{len(row)} columns")
    with np.errstate(over="ignore"):  # infinity is out of range too
        # Rounded as they will be stored: a box that is not empty here is not empty there.
        xmin, ymin, xmax, ymax = (float(np.float32(value)) for value in row[1:5])
    for low, high, axis in ((xmin, xmax, "x"), (ymin, ymax, "y")):
        if not 0 <= low < high <= 1:
            raise ValueError(f"{axis} from {low:g} to {high:g}")
    label = row[5].strip() if len(row) == 6 else ""
    if label and label not in numbers:
        raise ValueError(f"no class {label!r}")
    return Box(xmin, ymin, xmax, ymax, numbers[label] if label else None, row[0], line)


def _composed(name: str) -> str:
    """File systems and editors write an accent as part of its letter, or behind it."""
    return unicodedata.normalize("NFC", name)


def _some(wrong: list[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(wrong[:LINES_TOLD]) + (f" and {len(wrong) - LINES_TOLD} more" if len(wrong) > LINES_TOLD else "")
