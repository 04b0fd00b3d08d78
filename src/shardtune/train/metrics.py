"""What a run measured: metrics.jsonl, one JSON object a line, for programs and for the report, and TensorBoard events."""

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from shardtune.files import atomic_write

METRICS_NAME = "metrics.jsonl"


class Metrics:
    """Writes both for the run in `directory`. For rank 0.

    Args:
        steps_done: lines of later steps are dropped: the run has gone back to its checkpoint and comes to them again.
    """

    def __init__(self, directory: Path, steps_done: int) -> None:
        self._path = directory / METRICS_NAME
        if self._path.exists():
            kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if _is_within(line, steps_done)]
            with atomic_write(self._path) as file:
                file.write("".join(f"{line}\n" for line in kept).encode())
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


def _is_within(line: str, steps_done: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= steps_done)
    except ValueError:
        return False  # cut off by a crash
