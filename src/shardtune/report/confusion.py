"""Which classes are taken for which: the part of the confusion matrix that a page can show."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from shardtune.evaluate.predictions import Predictions

MAX_CLASSES = 25  # rows of the matrix: more do not fit a page
MAX_PAIRS = 20  # lines of the table of confusions
LEVELS = 9  # shades of the matrix
Cell = tuple[int, int]  # label and predicted class


@dataclass(frozen=True)
class Confusion:
    """How often examples of a label are predicted as a class.

    Attributes:
        counts: of all cells that are not 0.
        shown: the classes of the matrix, by label: all that occur, or those with the most mistakes.
        is_whole: whether they are all that occur.
        pairs: the most frequent mistakes, the first one first.
    """

    counts: dict[Cell, int]
    shown: list[int]
    is_whole: bool
    pairs: list[Cell]

    @staticmethod
    def of(predictions: Predictions) -> "Confusion":
        cells, numbers = np.unique(cells_of(predictions), axis=0, return_counts=True)
        counts = {(int(label), int(predicted)): int(n) for (label, predicted), n in zip(cells, numbers, strict=True)}
        mistakes: dict[int, int] = {label: 0 for cell in counts for label in cell}
        for (label, predicted), number in counts.items():
            if label != predicted:
                mistakes[label] += number
                mistakes[predicted] += number
        worst = sorted(mistakes, key=lambda label: (-mistakes[label], label))[:MAX_CLASSES]
        wrong = [cell for cell in counts if cell[0] != cell[1]]
        pairs = sorted(wrong, key=lambda cell: (-counts[cell], cell))[:MAX_PAIRS]
        return Confusion(counts, sorted(worst), len(mistakes) <= MAX_CLASSES, pairs)

    @cached_property
    def support(self) -> dict[int, int]:
        """Examples of each label that has some."""
        support = Counter[int]()
        for (label, _), number in self.counts.items():
            support[label] += number
        return dict(support)

    def level(self, cell: Cell) -> int:
        """The shade of a cell, 1 to 9, by its share of the examples of its label."""
        return -(-LEVELS * self.counts[cell] // self.support[cell[0]])

    @property
    def cells(self) -> set[Cell]:
        """The cells that can be opened."""
        shown = {*self.shown}
        return {cell for cell in self.counts if shown.issuperset(cell)} | {*self.pairs}


def cells_of(predictions: Predictions) -> npt.NDArray[np.int64]:
    """Label and predicted class of each example: [n, 2]."""
    return np.stack([predictions.labels, predictions.top[:, 0]], axis=1)
