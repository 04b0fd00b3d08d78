"""What a network says of each example, and `predictions.csv`, where it is kept."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.errors import DataError
from shardtune.evaluate.counts import TopKCounts, count_hits, top_classes
from shardtune.runtime.files import atomic_write

PREDICTIONS_NAME = "predictions.csv"
BACKGROUND = "background"  # what class 0 is called


@dataclass(frozen=True)
class Predictions:
    """Predictions for n examples. It keeps k = min(5, classes) classes of each, not all: 200 bytes an example.

    Attributes:
        examples: their numbers in their split, int64 [n].
        files: as `source_name` gives them, objects of type str [n].
        labels: int64 [n].
        losses: −ln of the probability of the label, float64 [n].
        top: the classes with the highest probabilities, as `top_classes` orders them, int64 [n, k].
        probabilities: of these, float64 [n, k].
    """

    examples: npt.NDArray[np.int64]
    files: npt.NDArray[np.object_]
    labels: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float64]
    top: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def counts(self) -> TopKCounts:
        return count_hits(self.top, self.labels)

    @staticmethod
    def none(num_classes: int) -> "Predictions":
        """The predictions for no example."""
        no_numbers = np.zeros(0, np.int64)
        return Predictions.from_logits(no_numbers, [], no_numbers, np.zeros((0, num_classes), np.float32))

    @staticmethod
    def from_logits(
        examples: npt.NDArray[np.int64], files: Sequence[str], labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]
    ) -> "Predictions":
        """The predictions of a batch from its logits [n, classes]."""
        top = top_classes(logits)
        log_probabilities = log_softmax(logits)
        return Predictions(
            examples,
            np.array(files, object),
            labels,
            0.0 - np.take_along_axis(log_probabilities, labels[:, np.newaxis], axis=1)[:, 0],  # a loss of 0 is not −0.0
            top,
            np.exp(np.take_along_axis(log_probabilities, top, axis=1)),
        )

    @staticmethod
    def concatenate(parts: Sequence["Predictions"]) -> "Predictions":
        """All predictions in the order of the examples, whichever rank made them."""
        arrays = [np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Predictions)]
        order = np.argsort(arrays[0])
        return Predictions(*(array[order] for array in arrays))


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The logarithms of the probabilities [n, classes] that logits [n, classes] mean, computed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # type: ignore[no-any-return]


def write_predictions(directory: Path, predictions: Predictions, class_names: Sequence[str]) -> Path:
    """Write `directory/predictions.csv`, one line per example, and return its path.

    Columns: example (its number in the split), file, label, class (its name), loss, and label_i, class_i and probability_i for
    the classes of rank i = 1 … k. UTF-8. Text is in quotes and may hold any character: line breaks, too. Numbers have all their
    digits.
    """
    k = predictions.top.shape[1]
    ranked = [f"{name}_{rank}" for rank in range(1, k + 1) for name in ("label", "class", "probability")]
    path = directory / PREDICTIONS_NAME
    with atomic_write(path) as file:
        file.write(csv_row(["example", "file", "label", "class", "loss", *ranked]))
        columns = [getattr(predictions, field.name).tolist() for field in fields(Predictions)]
        for example, name, label, loss, top, probabilities in zip(*columns, strict=True):
            row: list[Any] = [example, name, label, class_names[label], loss]
            for other, probability in zip(top, probabilities, strict=True):
                row += [other, class_names[other], probability]
            file.write(csv_row(row))
    return path


def csv_row(values: Sequence[Any]) -> bytes:
    """A line of CSV: all text in quotes, numbers with all their digits, a name with the bytes that it has in the file system.

    Python's csv cannot write a zero byte before 3.11, and leaves out the quotes of some names with a line break.
    """
    cells = (f'"{value.replace(chr(34), 2 * chr(34))}"' if isinstance(value, str) else repr(value) for value in values)
    return f"{','.join(cells)}\n".encode("utf-8", "surrogateescape")


def read_predictions(directory: Path) -> Predictions:
    """What `write_predictions` has written there, every number to the last bit.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    path = directory / PREDICTIONS_NAME
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))
        ranks = range(1, 1 + sum(name.startswith("probability_") for name in header))
        return Predictions(
            np.array(columns["example"], np.int64),
            np.array(columns["file"], object),
            np.array(columns["label"], np.int64),
            np.array(columns["loss"], np.float64),
            np.array([columns[f"label_{rank}"] for rank in ranks], np.int64).T,
            np.array([columns[f"probability_{rank}"] for rank in ranks], np.float64).T,
        )
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Run shardtune eval first.") from None
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}).", "Run shardtune eval again.") from error
