"""What a run measured: metrics.jsonl, one JSON object a line, for programs and for the report, and TensorBoard events."""

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

from shardtune.runtime.files import atomic_write
from shardtune.runtime.frameworks import tf

METRICS_NAME = "metrics.jsonl"
EVENTS = "events.out.tfevents"  # what TensorFlow's file names begin with


class MetricsWriter:
    """Writes both for the run in `directory`. For rank 0.

    Args:
        steps_done: lines and points of later steps are dropped: the run has gone back to its checkpoint and comes to them
            again.
    """

    def __init__(self, directory: Path, steps_done: int) -> None:
        self._path = directory / METRICS_NAME
        if self._path.exists():
            kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if _is_within(line, steps_done)]
            with atomic_write(self._path) as file:
                file.write("".join(f"{line}\n" for line in kept).encode())
        earlier = [path.name for path in directory.glob(f"{EVENTS}.*")]
        if earlier:
            _drop_points(directory, max(earlier), steps_done)
        self._events = tf.summary.create_file_writer(str(directory))

    def add(self, step: int, **values: float) -> None:
        """Add one line of what was measured after `step` steps; a crash can cut off the last line, never an earlier one."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        with self._events.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def histograms(self, step: int, tensors: dict[str, Any]) -> None:
        """Add the distribution of the values of each tensor."""
        with self._events.as_default(step):
            for name, tensor in tensors.items():
                tf.summary.histogram(name, tensor)

    def close(self) -> None:
        self._events.close()


class StepTimer:
    """Where the time of the steps since the last report went, in seconds."""

    def __init__(self) -> None:
        self._steps, self._total, self._input, self._communication = 0, 0.0, 0.0, 0.0

    def add(self, total: float, input_: float, communication: float) -> None:
        self._steps += 1
        self._total += total
        self._input += input_
        self._communication += communication

    def shares(self) -> dict[str, float]:
        """Seconds of a step, and which shares of it were spent waiting for input and for other workers."""
        return {
            "step_seconds": self._total / max(1, self._steps),
            "input_share": self._input / max(self._total, 1e-9),
            "communication_share": self._communication / max(self._total, 1e-9),
        }


def _drop_points(directory: Path, last: str, steps_done: int) -> None:
    """Let TensorBoard forget the points of later steps that earlier event files hold: it obeys a file that says that the run
    has started again. It reads them in the order of their names, which hold the second: that of `last` must be over."""
    second = re.match(rf"{EVENTS}\.(\d+)", last)
    time.sleep(max(0.0, min(1.0, int(second[1]) + 1 - time.time())) if second else 0.0)
    path = directory / f"{EVENTS}.{int(time.time()):010d}.{socket.gethostname()}.0.restart"
    start = {"session_log": tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START), "step": steps_done + 1}
    with tf.io.TFRecordWriter(str(path)) as file:
        for event in ({"file_version": "brain.Event:2"}, start, start):  # the first start of all is none that comes again
            file.write(tf.compat.v1.Event(wall_time=time.time(), **event).SerializeToString())


def _is_within(line: str, steps_done: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= steps_done)
    except ValueError:
        return False  # cut off by a crash
