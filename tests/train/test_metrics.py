import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from shardtune.train.metrics import Metrics


def lines(directory: Path) -> list[Any]:
    return [json.loads(text) for text in (directory / "metrics.jsonl").read_text().splitlines()]


def events(directory: Path) -> list[tuple[int, str]]:
    """Step and tag of every summary."""
    [path] = directory.glob("events.out.tfevents.*")
    return [(e.step, value.tag) for e in tf.compat.v1.train.summary_iterator(str(path)) for value in e.summary.value]


def test_lines_are_added_one_at_a_time(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    for step in (1, 2):
        metrics.add(step, loss=0.5 / step, learning_rate=1e-9)
        assert lines(tmp_path)[-1] == {"step": step, "loss": 0.5 / step, "learning_rate": 1e-9}
    metrics.histograms(2, {"conv0/weights": tf.ones([3])})
    metrics.close()
    assert events(tmp_path) == [(1, "loss"), (1, "learning_rate"), (2, "loss"), (2, "learning_rate"), (2, "conv0/weights")]


def test_a_run_that_goes_back_comes_to_its_steps_once(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    for step in (10, 20, 30):
        metrics.add(step, loss=float(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    Metrics(tmp_path, 20).add(30, loss=7.0)
    assert lines(tmp_path) == [{"step": 10, "loss": 10.0}, {"step": 20, "loss": 20.0}, {"step": 30, "loss": 7.0}]
