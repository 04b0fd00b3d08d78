"""`eval.json`: the figures of an evaluation. It is written last, and has the digest of the predictions that it is made of."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.evaluate import statistics
from shardtune.evaluate.predictions import PREDICTIONS_NAME, Predictions, read_predictions
from shardtune.runtime.files import atomic_write, exists, sha256_file

RESULT_NAME = "eval.json"
MATRIX = "confusion_matrix"
MAX_CLASSES_IN_MATRIX = 2000  # with more it would take more than 10 MB, and predictions.csv has what it shows
FIELDS = {  # of a result
    *("examples", "corrupt_records", "top_1", "top_5", "k", "precision_at_1", "precision_at_1_interval", "recall_at_5"),
    *("recall_at_5_interval", "loss", "temperature", "expected_calibration_error", "calibration_bins", "classes", MATRIX),
    *("subset", "step", "averaged", "image_size", "images_per_second", "provenance"),
}
Result = dict[str, Any]


def measure(predictions: Predictions, class_names: Sequence[str]) -> Result:
    """The figures of one prediction or more.

    Args:
        class_names: by label, that of the background class included.
    """
    counts, labels, predicted = predictions.counts, predictions.labels, predictions.top[:, 0]
    bins = statistics.calibration_bins(predictions.probabilities[:, 0], predicted == labels)
    figures = statistics.class_figures(labels, predicted, len(class_names))
    has_matrix = len(class_names) <= MAX_CLASSES_IN_MATRIX
    return {
        "examples": counts.examples,
        "top_1": counts.top_1,
        "top_5": counts.top_5,
        "k": predictions.top.shape[1],
        "precision_at_1": counts.precision_at_1,
        "precision_at_1_interval": statistics.wilson_interval(counts.top_1, counts.examples),
        "recall_at_5": counts.recall_at_5,
        "recall_at_5_interval": statistics.wilson_interval(counts.top_5, counts.examples),
        "loss": math.fsum(predictions.losses) / counts.examples,
        "expected_calibration_error": statistics.expected_calibration_error(bins),
        "calibration_bins": [asdict(each) for each in bins],
        "classes": [{"label": label, "name": name, **asdict(figures[label])} for label, name in enumerate(class_names)],
        MATRIX: statistics.confusion_matrix(labels, predicted, len(class_names)).tolist() if has_matrix else None,
    }


def write_result(directory: Path, result: Result) -> None:
    """Write `directory/eval.json`: indented JSON, but each row of the confusion matrix on one line."""
    rest = {name: value for name, value in result.items() if name != MATRIX}
    rows = ",\n    ".join(json.dumps(row) for row in result[MATRIX] or [])
    matrix = f"[\n    {rows}\n  ]" if rows else "null"
    text = json.dumps(rest, indent=2, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    with atomic_write(directory / RESULT_NAME) as file:
        file.write(f'{text},\n  "{MATRIX}": {matrix}\n}}\n'.encode())


def result_folder(eval_dir: Path, subset: Split) -> Path:
    """Where the results of a split are: those of validation in the --eval_dir, of others in a folder of their name in it."""
    return eval_dir if subset == "validation" else eval_dir / subset


def result_folders(run: Path) -> list[Path]:
    """Where evaluations of a run leave their results by themselves, and by the scripts: first the one of the newest."""

    def written(folder: Path) -> float:
        path = folder / RESULT_NAME
        return path.stat().st_mtime if exists(path) else 0.0

    splits: tuple[Split, ...] = ("validation", "test", "train")
    return sorted((result_folder(path, split) for split in splits for path in (run / "eval", run)), key=written, reverse=True)


def read_result(directory: Path) -> tuple[Result, Predictions]:
    """What `shardtune eval` has left in its --eval_dir: the figures, and the predictions that they are made of.

    Raises:
        DataError: one of the two files is missing or cannot be read, is of an older shardtune, or they are of two evaluations.
    """
    path = directory / RESULT_NAME
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        digest = result["provenance"]["predictions_sha256"]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Run shardtune eval first.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error!r}).", "Run shardtune eval again.") from error
    if missing := sorted(FIELDS - result.keys()):
        raise DataError(f"{path} has no {missing[0]}, as an older shardtune leaves it.", "Run shardtune eval again.")
    predictions = read_predictions(directory)
    if sha256_file(directory / PREDICTIONS_NAME) != digest:
        raise DataError(
            f"{directory / PREDICTIONS_NAME} is not of the evaluation in {RESULT_NAME}.", "Run shardtune eval again."
        )
    return result, predictions
