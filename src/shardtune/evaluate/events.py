"""The events of an evaluation for TensorBoard."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from shardtune.dataset.tfrecord import frame
from shardtune.runtime.files import atomic_write
from shardtune.runtime.frameworks import tf


def write_events(directory: Path, step: int, values: Mapping[str, float]) -> None:
    """Write values of a step by their tags into an event file of their own, as research/inception's evaluation did.

    TensorBoard reads the files of a directory in the order of their names: that of the seconds in which they were written.
    """
    now = time.time()
    path = directory / f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{step}.eval"
    summary = tf.compat.v1.Summary(value=[{"tag": tag, "simple_value": value} for tag, value in values.items()])
    with atomic_write(path) as file:
        for content in ({"file_version": "brain.Event:2"}, {"step": step, "summary": summary}):
            file.write(frame(tf.compat.v1.Event(wall_time=now, **content).SerializeToString()))
