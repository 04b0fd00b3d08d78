from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

from shardtune.evaluate.events import write_events


def test_tensorboard_shows_each_evaluation_at_its_step(tmp_path: Path) -> None:
    for step, precision in ((4, 0.5), (6, 0.75)):
        write_events(tmp_path, step, {"Precision @ 1": precision, "Recall @ 5": 1.0})
    board = EventMultiplexer().AddRun(str(tmp_path), "run").Reload()
    points = [(each.step, float(tf.make_ndarray(each.tensor_proto))) for each in board.Tensors("run", "Precision @ 1")]
    assert points == [(4, 0.5), (6, 0.75)]
    assert len(board.Tensors("run", "Recall @ 5")) == 2


def test_an_event_is_as_the_reference_wrote_it(tmp_path: Path) -> None:
    write_events(tmp_path, 6, {"Precision @ 1": 0.75})
    (path,) = tmp_path.iterdir()
    first, event = tf.compat.v1.train.summary_iterator(str(path))
    (value,) = event.summary.value
    assert first.file_version == "brain.Event:2"
    assert (event.step, value.tag, value.simple_value) == (6, "Precision @ 1", pytest.approx(0.75))
