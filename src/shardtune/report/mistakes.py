"""Which examples a page shows, and which labels are probably wrong."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.evaluate.predictions import Predictions, csv_row
from shardtune.report.confusion import Cell, cells_of
from shardtune.report.run import Evaluation

MAX_MISTAKES = 60  # that are shown before a cell is chosen
MAX_IN_CELL = 12
Indices = npt.NDArray[np.int64]


def choose_examples(predictions: Predictions, cells: Collection[Cell], limit: int) -> tuple[Indices, Indices]:
    """Rows of `predictions` that a page shows at first, and rows of those that it shows for a cell; at most `limit` in all.

    First the most confident mistakes. Then some of each cell, one of each before a second of any: of mistakes the most
    confident ones, of right answers the least confident ones.
    """
    wrong = predictions.top[:, 0] != predictions.labels
    confidences = predictions.probabilities[:, 0]
    doubt = np.where(wrong, 1 - confidences, confidences)  # the smaller, the more worth seeing
    mistakes = np.flatnonzero(wrong)
    first = mistakes[np.argsort(doubt[mistakes], kind="stable")][: min(MAX_MISTAKES, limit)]
    seen: dict[Cell, int] = {}
    ranked: list[tuple[int, bool, float, int]] = []
    taken = set(first.tolist())
    pairs = cells_of(predictions)
    for row in np.argsort(doubt, kind="stable").tolist():
        cell = (int(pairs[row, 0]), int(pairs[row, 1]))
        rank = seen[cell] = seen.get(cell, -1) + 1
        if rank < MAX_IN_CELL and cell in cells and row not in taken:
            ranked.append((rank, not wrong[row], float(doubt[row]), row))
    others = [row for *_, row in sorted(ranked)[: limit - len(first)]]
    return first, np.array(others, np.int64)


@dataclass(frozen=True)
class Suspect:
    """An example whose label is probably wrong.

    Attributes:
        row: of the predictions.
        suggested: the class that it seems to be of.
        probability: of that class.
        label_probability: of the label.
    """

    row: int
    suggested: int
    probability: float
    label_probability: float


def suspects(predictions: Predictions) -> list[Suspect]:
    """The examples whose labels are probably wrong, the most probable ones first.

    As in confident learning (Northcutt et al. 2021, arXiv:1911.00068, section 3): the network gives the other class at least
    the probability that it gives this class on average where it is the label. Ranked by the normalized margin.
    """
    own = np.exp(-predictions.losses)
    predicted, confidences = predictions.top[:, 0], predictions.probabilities[:, 0]
    size = int(max(predictions.labels.max(), predicted.max())) + 1
    support = np.bincount(predictions.labels, minlength=size)
    averages = np.bincount(predictions.labels, own, minlength=size) / np.maximum(support, 1)
    is_suspect = (predicted != predictions.labels) & (support[predicted] > 0) & (confidences >= averages[predicted])
    rows = np.flatnonzero(is_suspect)
    rows = rows[np.argsort(own[rows] - confidences[rows], kind="stable")]
    return [Suspect(int(row), int(predicted[row]), float(confidences[row]), float(own[row])) for row in rows]


def suspects_csv(evaluations: Sequence[tuple[str, Evaluation]]) -> bytes:
    """The suspects of each run as CSV.

    Args:
        evaluations: name of each run, and its evaluation.
    """
    names = ("label", "class", "suggested_label", "suggested_class", "probability", "label_probability")
    rows: list[Sequence[Any]] = [("run", "split", "example", "file", *names)]
    for run, evaluation in evaluations:
        predictions, classes = evaluation.predictions, evaluation.names
        for each in suspects(predictions):
            label = int(predictions.labels[each.row])
            found = (int(predictions.examples[each.row]), predictions.files[each.row], label, classes[label])
            guess = (each.suggested, classes[each.suggested], each.probability, each.label_probability)
            rows.append((run, evaluation.result["subset"], *found, *guess))
    return b"".join(map(csv_row, rows))
