import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from shardtune.errors import DataError
from shardtune.evaluate.counts import TopKCounts
from shardtune.evaluate.predictions import PREDICTIONS_NAME, Predictions, read_predictions, write_predictions

NAMES = ["background", "=1+1", 'a "b", c', "d;\te", "été 🌷", "f", "g"]
FILES = ['x/"><img src=x onerror=alert(1)>.jpg', "a\nb.jpg", "a\rb.jpg", "\x1b[31mred.jpg", "", " , ", '"', "ünï.jpg", "x.jpg"]


def sample(classes: int = len(NAMES)) -> tuple[Predictions, Any, Any]:
    generator = np.random.default_rng(classes)
    logits = generator.normal(0, 5, (len(FILES), classes)).astype(np.float32)
    labels = generator.integers(0, classes, len(FILES))
    return Predictions.from_logits(np.arange(len(FILES)), FILES, labels, logits), logits, labels


def equal(first: Predictions, second: Predictions) -> bool:
    return all(np.array_equal(value, getattr(second, name)) for name, value in vars(first).items())


def test_probabilities_are_scipy_s() -> None:
    predictions, logits, labels = sample()
    expected = log_softmax(logits.astype(np.float64), axis=1)
    rows = np.arange(len(FILES))
    np.testing.assert_allclose(predictions.losses, -expected[rows, labels], rtol=1e-13)
    np.testing.assert_allclose(predictions.probabilities, np.sort(np.exp(expected))[:, :-6:-1], rtol=1e-13)
    assert np.array_equal(predictions.top[:, 0], logits.argmax(1))


@pytest.mark.parametrize("classes", [len(NAMES), 3])
def test_any_name_is_read_as_it_was_written(tmp_path: Path, classes: int) -> None:
    predictions, _, labels = sample(classes)
    path = write_predictions(tmp_path, predictions, NAMES)
    assert equal(read_predictions(tmp_path), predictions)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == FILES
    assert [row["class"] for row in rows] == [NAMES[label] for label in labels]
    ranks = range(1, min(classes, 5) + 1)
    assert [[row[f"class_{rank}"] for rank in ranks] for row in rows] == [[NAMES[i] for i in top] for top in predictions.top]


def test_parts_are_put_into_the_order_of_the_examples() -> None:
    predictions, logits, labels = sample()
    parts = [
        Predictions.from_logits(rows, [FILES[row] for row in rows], labels[rows], logits[rows])
        for rows in (np.array([6, 7, 8]), np.array([0, 1, 2]), np.array([3, 4, 5]))
    ]
    assert equal(Predictions.concatenate([Predictions.none(len(NAMES)), *parts]), predictions)
    assert predictions.counts == sum((part.counts for part in parts), TopKCounts())


def test_no_predictions_have_no_counts() -> None:
    none = Predictions.none(len(NAMES))
    assert (len(none), none.top.shape, none.counts) == (0, (0, 5), TopKCounts())


@pytest.mark.parametrize("content", [b"", b"\xff", b'"example","file"\n1\n', b'"example","file"\n1,"a"\n', b"a" * 200_000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / PREDICTIONS_NAME
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))} does not exist\. Run shardtune eval first\.$"):
        read_predictions(tmp_path)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))} cannot be read \(.*\)\. Run shardtune eval again\.$"):
        read_predictions(tmp_path)
