"""Metrics of a run: metrics.jsonl, one JSON object a line, for programs, and TensorBoard events."""

import json
import math
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shardtune.errors import TrainingError
from shardtune.model.checkpoint_file import METRICS_NAME
from shardtune.runtime.files import atomic_write, filename_in_errors, read_bytes
from shardtune.runtime.frameworks import tf

EVENTS_PREFIX = "events.out.tfevents"  # of the names that TensorFlow gives its files


class NullMetricsWriter:
    """Writes nothing: for ranks other than 0."""

    def write_scalars(self, step: int, **values: float) -> None:
        """Does nothing."""

    def write_histograms(self, step: int, compute: Callable[[], dict[str, Any]]) -> None:
        """Does nothing, and does not call `compute`."""

    def close(self) -> None:
        """Does nothing."""


class MetricsWriter:
    """Writes metrics.jsonl and TensorBoard events of the run in `directory`. For rank 0.

    Args:
        last_step: lines and points of later steps are dropped: the run has gone back to its checkpoint, and takes those steps
            again.
    """

    def __init__(self, directory: Path, last_step: int) -> None:
        self._path = directory / METRICS_NAME
        if self._path.exists():
            kept = [line for line in read_bytes(self._path).decode().splitlines() if _is_within(line, last_step)]
            with atomic_write(self._path) as file:
                file.write("".join(f"{line}\n" for line in kept).encode())
        earlier = [path.name for path in directory.glob(f"{EVENTS_PREFIX}.*")]
        with _reporting_failed_writes(directory):
            if earlier:
                _drop_points(directory, max(earlier), last_step)
            self._events = tf.summary.create_file_writer(str(directory))

    def write_scalars(self, step: int, **values: float) -> None:
        """Add one line of values measured after `step` steps. A crash can cut off the last line, never an earlier one."""
        with filename_in_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        with _reporting_failed_writes(self._path.parent), self._events.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def write_histograms(self, step: int, compute: Callable[[], dict[str, Any]]) -> None:
        """Add the distribution of the values of each tensor that `compute` returns, by name."""
        tensors = compute()
        with _reporting_failed_writes(self._path.parent), self._events.as_default(step):
            for name, tensor in tensors.items():
                tf.summary.histogram(name, tensor)

    def close(self) -> None:
        with _reporting_failed_writes(self._path.parent):
            self._events.close()


class StepTimer:
    """Measures where the time of the steps since the last report went."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget all steps."""
        self._steps, self._total_seconds, self._input_seconds, self._allreduce_seconds = 0, 0.0, 0.0, 0.0

    def add(self, total_seconds: float, input_seconds: float, allreduce_seconds: float) -> None:
        """Add a step."""
        self._steps += 1
        self._total_seconds += total_seconds
        self._input_seconds += input_seconds
        self._allreduce_seconds += allreduce_seconds

    def summary(self) -> dict[str, float]:
        """Seconds of a step, and the fractions of them that it waited for input and, where that is known, for other workers."""
        total = max(self._total_seconds, 1e-9)
        shares = {"input_share": self._input_seconds / total, "communication_share": self._allreduce_seconds / total}
        known = {name: share for name, share in shares.items() if not math.isnan(share)}
        return {"step_seconds": self._total_seconds / max(1, self._steps), **known}


@contextmanager
def _reporting_failed_writes(directory: Path) -> Iterator[None]:
    """Where TensorFlow cannot write events into `directory`, raise a TrainingError that says why."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = (error.message or "").partition("\n")[0].rpartition("; ")[2]  # of "{{node …}} path; reason" and more lines
        raise TrainingError(
            f"TensorBoard's events in {directory} cannot be written ({reason}).", "Fix that and run the same command again."
        ) from error


def _drop_points(directory: Path, last_file: str, last_step: int) -> None:
    """Make TensorBoard forget the points of later steps in earlier event files, by a file that says that the run started again.

    TensorBoard reads the files in the order of their names, which contain the second: that of `last_file` must be over.
    """
    second = re.match(rf"{EVENTS_PREFIX}\.(\d+)", last_file)
    time.sleep(max(0.0, min(1.0, int(second[1]) + 1 - time.time())) if second else 0.0)
    path = directory / f"{EVENTS_PREFIX}.{int(time.time()):010d}.{socket.gethostname()}.0.restart"
    start = {"session_log": tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START), "step": last_step + 1}
    with tf.io.TFRecordWriter(str(path)) as file:
        for event in ({"file_version": "brain.Event:2"}, start, start):  # TensorBoard ignores the first start of all
            file.write(tf.compat.v1.Event(wall_time=time.time(), **event).SerializeToString())


def _is_within(line: str, last_step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= last_step)
    except ValueError:
        return False  # cut off by a crash
