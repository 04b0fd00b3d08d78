import csv
import io
import math
import os

import numpy as np
import pytest

from shardtune.evaluate.predictions import Predictions
from shardtune.report.confusion import MAX_CLASSES, MAX_PAIRS, Confusion
from shardtune.report.mistakes import MAX_IN_CELL, MAX_MISTAKES, choose_examples, suspects, suspects_csv
from shardtune.report.run import Evaluation


def predictions(rows: list[tuple[int, list[float]]]) -> Predictions:
    """Those of examples with these labels and probabilities of all classes."""
    labels, probabilities = (np.array(values) for values in zip(*rows, strict=True))
    names = [f"{number}.jpg" for number in range(len(rows))]
    return Predictions.from_logits(np.arange(len(rows)), names, labels, np.log(probabilities).astype(np.float32))


def random_predictions(classes: int, examples: int, skill: float = 3.0) -> Predictions:
    generator = np.random.default_rng(classes)
    labels = np.arange(examples) % (classes - 1) + 1
    logits = generator.normal(size=(examples, classes)).astype(np.float32)
    logits[np.arange(examples), labels] += skill
    return Predictions.from_logits(np.arange(examples), ["x.jpg"] * examples, labels, logits)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_matrix_has_every_class_or_the_worst(classes: int) -> None:
    found = random_predictions(classes + 1, 3000)
    confusion = Confusion.of(found)
    matrix = np.zeros((classes + 1, classes + 1), int)
    np.add.at(matrix, (found.labels, found.top[:, 0]), 1)
    assert confusion.counts == {(int(i), int(j)): int(matrix[i, j]) for i, j in np.argwhere(matrix)}
    mistakes = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    left_out = [label for label in range(classes + 1) if label not in confusion.shown and mistakes[label]]
    assert confusion.is_whole == (not left_out)
    assert len(confusion.shown) == min(MAX_CLASSES, np.count_nonzero(matrix.sum(0) + matrix.sum(1)))
    assert max([mistakes[label] for label in left_out], default=0) <= min(mistakes[confusion.shown])
    off_diagonal = [matrix[cell] for cell in np.ndindex(matrix.shape) if cell[0] != cell[1] and matrix[cell]]
    assert [confusion.counts[pair] for pair in confusion.pairs] == sorted(off_diagonal, reverse=True)[:MAX_PAIRS]


def test_shades_say_the_share_of_a_label() -> None:
    confusion = Confusion.of(predictions([(1, [0.1, 0.8, 0.1])] * 8 + [(1, [0.1, 0.1, 0.8])] + [(2, [0.1, 0.1, 0.8])] * 100))
    assert [confusion.level(cell) for cell in ((1, 1), (1, 2), (2, 2))] == [8, 1, 9]


def test_the_most_confident_mistakes_are_shown_first() -> None:
    rows = [(1, [0.1, 0.2, 0.7]), (1, [0.0001, 0.9, 0.1]), (2, [0.1, 0.8, 0.1]), (2, [0.1, 0.3, 0.6]), (2, [0.1, 0.0001, 0.9])]
    found = predictions(rows)
    first, others = choose_examples(found, Confusion.of(found).cells, 600)
    assert (first.tolist(), others.tolist()) == ([2, 0], [3, 1, 4])  # then right answers, one of each cell, the least sure ones
    assert [part.tolist() for part in choose_examples(found, {(2, 2)}, 3)] == [[2, 0], [3]]


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_gallery_is_bounded_and_every_cell_has_its_turn(classes: int) -> None:
    found = random_predictions(classes + 1, 5000, skill=1.0)
    cells = Confusion.of(found).cells
    first, others = choose_examples(found, cells, 300)
    rows = [*first.tolist(), *others.tolist()]
    assert len(rows) == len({*rows}) <= 300
    assert len(first) == MAX_MISTAKES
    chosen = [(int(found.labels[row]), int(found.top[row, 0])) for row in rows]
    assert {*chosen[MAX_MISTAKES:]} <= cells
    numbers = [chosen[MAX_MISTAKES:].count(cell) for cell in cells]
    assert max(numbers) <= MAX_IN_CELL
    if classes == 2:
        assert {*chosen} == cells


def test_suspects_look_more_like_another_class_than_it_does_itself() -> None:
    rows = [
        *[(1, [0.05, 0.9, 0.05]), (1, [0.1, 0.5, 0.4])],  # class 1 has 0.7 on average, with the mistake below 0.47
        (1, [0.0001, 0.0099, 0.99]),  # probably class 2
        *[(2, [0.1, 0.1, 0.8]), (2, [0.1, 0.2, 0.7])],
        (2, [0.05, 0.5, 0.45]),  # above the average of class 1
        (1, [0.3, 0.3, 0.4]),  # a mistake, but less like class 2 than that is on average
        (1, [0.9, 0.05, 0.05]),  # nothing is labelled 0
    ]
    found = suspects(predictions(rows))
    assert [(each.row, each.suggested) for each in found] == [(2, 2), (5, 1)]
    assert found[0].probability == pytest.approx(0.99)
    assert found[1].label_probability == pytest.approx(0.45)


def test_the_list_of_suspects_names_files_and_classes() -> None:
    found = predictions([(1, [0.01, 0.09, 0.9]), (2, [0.1, 0.1, 0.8])])
    classes = [[{"name": name} for name in ("background", other, "c")] for other in ('a "b",\n', "\ud800")]
    one, two = (Evaluation({"subset": "train", "classes": each}, found) for each in classes)
    written = suspects_csv([("run", one), (os.fsdecode(b"\xff\0"), two)])
    assert b"\xff\0" in written  # a name has the bytes that it has in the file system
    text = written.replace(b"\xff\0", b"two")
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert {row["split"] for row in rows} == {"train"}
    assert [(row["run"], row["file"], row["class"], row["suggested_class"]) for row in rows] == [
        ("run", "0.jpg", 'a "b",\n', "c"),
        ("two", "0.jpg", "?", "c"),
    ]
    assert math.isclose(float(rows[0]["probability"]), 0.9, rel_tol=1e-6)
