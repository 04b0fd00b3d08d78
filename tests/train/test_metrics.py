import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from shardtune.errors import TrainingError
from shardtune.train.metrics import MetricsWriter, NullMetricsWriter
from tests.faults.mounts import Fault, Mounter, Options


def lines(directory: Path) -> list[Any]:
    return [json.loads(text) for text in (directory / "metrics.jsonl").read_text().splitlines()]


def events(directory: Path) -> list[tuple[int, str]]:
    """Step and tag of every summary."""
    [path] = directory.glob("events.out.tfevents.*")
    return [(e.step, value.tag) for e in tf.compat.v1.train.summary_iterator(str(path)) for value in e.summary.value]


def test_lines_are_added_one_at_a_time(tmp_path: Path) -> None:
    metrics = MetricsWriter(tmp_path, 0)
    for step in (1, 2):
        metrics.write_scalars(step, loss=0.5 / step, learning_rate=1e-9)
        assert lines(tmp_path)[-1] == {"step": step, "loss": 0.5 / step, "learning_rate": 1e-9}
    metrics.write_histograms(2, lambda: {"conv0/weights": tf.ones([3])})
    metrics.close()
    assert events(tmp_path) == [(1, "loss"), (1, "learning_rate"), (2, "loss"), (2, "learning_rate"), (2, "conv0/weights")]


def test_other_ranks_write_and_compute_nothing() -> None:
    metrics = NullMetricsWriter()
    metrics.write_scalars(1, loss=0.5)
    metrics.write_histograms(1, lambda: pytest.fail("the histograms are for nobody"))
    metrics.close()


def test_a_run_that_goes_back_writes_its_steps_once(tmp_path: Path) -> None:
    metrics = MetricsWriter(tmp_path, 0)
    for step in (10, 20, 30):
        metrics.write_scalars(step, loss=float(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    MetricsWriter(tmp_path, 20).write_scalars(30, loss=7.0)
    assert lines(tmp_path) == [{"step": 10, "loss": 10.0}, {"step": 20, "loss": 20.0}, {"step": 30, "loss": 7.0}]


def test_tensorboard_forgets_the_points_that_a_run_writes_again(tmp_path: Path) -> None:
    metrics = MetricsWriter(tmp_path, 0)
    for step in (10, 20, 30):
        metrics.write_scalars(step, loss=float(step), only_before=1.0)
    metrics.close()

    def shown(name: str) -> list[tuple[int, float]]:
        return [(each.step, float(tf.make_ndarray(each.tensor_proto))) for each in board.Tensors("run", name)]

    board = EventMultiplexer().AddRun(str(tmp_path), "run").Reload()
    assert shown("loss") == [(10, 10.0), (20, 20.0), (30, 30.0)]
    again = MetricsWriter(tmp_path, 20)
    for fresh in (board, EventMultiplexer().AddRun(str(tmp_path), "run")):  # one that looks on, and one that is started now
        board = fresh.Reload()
        assert shown("loss") == [(10, 10.0), (20, 20.0)]
        assert shown("only_before") == [(10, 1.0), (20, 1.0)]
    again.write_scalars(30, loss=7.0)
    again.close()
    board.Reload()
    assert shown("loss") == [(10, 10.0), (20, 20.0), (30, 7.0)]


@pytest.mark.parametrize("call", ["create", "write"])
@pytest.mark.parametrize("name", ["events.out.*", "metrics.jsonl"])
def test_what_cannot_be_written_is_told(hostile_directory: Mounter, tmp_path: Path, call: str, name: str) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault(call, f"/{name}", 1, "ENOSPC")))

    def write() -> None:
        metrics = MetricsWriter(mount, 0)
        metrics.write_scalars(1, loss=0.5)
        metrics.close()

    expected = rf"TensorBoard's events in {mount} cannot be written \(No space left on device\)|'{mount}/metrics\.jsonl'$"
    with pytest.raises((TrainingError, OSError), match=expected):
        write()
    write()
    assert lines(tmp_path / "backing") == [{"step": 1, "loss": 0.5}]
