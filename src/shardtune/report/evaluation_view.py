"""What the page shows of an evaluation: matrix, gallery, classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shardtune.errors import DataError
from shardtune.evaluate.predictions import Predictions
from shardtune.input.reader import RecordReader
from shardtune.report.confusion import Cell, Confusion
from shardtune.report.data_set import DataSet
from shardtune.report.mistakes import Suspect, choose_examples, suspects
from shardtune.report.photographs import Picture, thumbnails
from shardtune.report.run import Evaluation, Run

CLASSES_AT_FIRST = 30  # lines of the table of classes that are not folded away
MAX_CLASSES = 1000  # lines of that table: more would make the page too large
SUSPECTS_SHOWN = 24


@dataclass(frozen=True)
class Exhibit:
    """An example in the gallery.

    Attributes:
        cell: label and predicted class.
        is_first: whether it is shown before a cell is chosen.
        picture: None where the photograph is not to be had.
        probabilities: of the prediction and of the label.
    """

    cell: Cell
    file: str
    label: str
    predicted: str
    probabilities: tuple[float, float]
    is_first: bool
    picture: Picture | None

    @property
    def is_right(self) -> bool:
        return self.cell[0] == self.cell[1]

    @property
    def text(self) -> str:
        """What the picture is, in words."""
        answer, own = self.probabilities
        if self.is_right:
            return f"{self.file}: {self.label}, recognised with {answer:.0%}"
        return f"{self.file}: labelled {self.label} ({own:.0%}), taken for {self.predicted} ({answer:.0%})"


@dataclass(frozen=True)
class EvaluationView:
    """An evaluation as the page shows it.

    Attributes:
        photographs_note: why there are no photographs; empty where there are.
    """

    evaluation: Evaluation
    confusion: Confusion
    exhibits: Sequence[Exhibit]
    suspects: Sequence[Suspect]
    photographs_note: str

    @property
    def result(self) -> Mapping[str, Any]:
        return self.evaluation.result

    @property
    def predictions(self) -> Predictions:
        return self.evaluation.predictions

    @cached_property
    def names(self) -> list[str]:
        return self.evaluation.names

    @property
    def classes(self) -> list[Mapping[str, Any]]:
        """The classes that occur, the worst recognised ones first."""
        occurring = [each for each in self.result["classes"] if each["support"] or each["precision"] is not None]
        return sorted(occurring, key=lambda each: (each["f1"] or 0.0, each["label"]))

    @property
    def classes_in_parts(self) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]], int]:
        """Those that are shown at once, those that are folded away, and how many are left out."""
        classes = self.classes
        return classes[:CLASSES_AT_FIRST], classes[CLASSES_AT_FIRST:MAX_CLASSES], max(0, len(classes) - MAX_CLASSES)

    @property
    def suspects_shown(self) -> Sequence[Suspect]:
        return self.suspects[:SUSPECTS_SHOWN]


def view_evaluation(run: Run, data_set: DataSet | str, limit: int) -> EvaluationView | None:
    """The evaluation of a run with at most `limit` photographs; None where there is none."""
    if run.evaluation is None:
        return None
    predictions = run.evaluation.predictions
    confusion = Confusion.of(predictions)
    first, others = choose_examples(predictions, confusion.cells, limit)
    rows = [*first.tolist(), *others.tolist()]
    pictures, note = _pictures(run.evaluation, data_set, [int(predictions.examples[row]) for row in rows])
    names = run.evaluation.names

    def exhibit(position: int, row: int) -> Exhibit:
        label, predicted = int(predictions.labels[row]), int(predictions.top[row, 0])
        return Exhibit(
            (label, predicted),
            str(predictions.files[row]) or f"example {predictions.examples[row]}",
            names[label],
            names[predicted],
            (float(predictions.probabilities[row, 0]), math.exp(-predictions.losses[row])),
            position < len(first),
            pictures.get(int(predictions.examples[row])),
        )

    exhibits = [exhibit(position, row) for position, row in enumerate(rows)]
    return EvaluationView(run.evaluation, confusion, exhibits, suspects(predictions), note)


def _pictures(evaluation: Evaluation, data_set: DataSet | str, examples: Sequence[int]) -> tuple[Mapping[int, Picture], str]:
    """Pictures by example, and why there are none."""
    if isinstance(data_set, str):
        return {}, data_set
    if not data_set.is_of(evaluation.result):
        return {}, f"{data_set.directory} is not the data set that was evaluated."
    split = evaluation.result["subset"]
    try:
        reader = RecordReader(data_set.directory, data_set.manifest, split, data_set.records[split])
    except DataError as error:
        return {}, str(error)
    return thumbnails(reader, examples), ""
