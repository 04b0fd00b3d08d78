"""Check that an export computes in another process what the trained model does in this one."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardtune.errors import ExportError
from shardtune.evaluate.exported import Probabilities
from shardtune.export.facts import Comparison
from shardtune.export.functions import TOP, Functions
from shardtune.export.trained import TrainedModel
from shardtune.input.pipeline import InputOptions, evaluation_batches
from shardtune.runtime.world import World

EXAMPLES = 500
BATCH_SIZE = 32
MAX_LOST_PRECISION = 0.05  # of precision@1: a bound on probabilities that lets rounding pass would let nonsense pass, too
ADVICE = "Nothing was exported. Leave out this format, and please report it."


@dataclass(frozen=True)
class Reference:
    """What the trained model gives on the images of a check.

    Attributes:
        probabilities: float32 [n, classes].
        labels: int64 [n], as indices of the outputs.
    """

    probabilities: Probabilities
    labels: npt.NDArray[np.int64]

    @staticmethod
    def of(trained: TrainedModel, functions: Functions, heartbeat: Callable[[], None]) -> "Reference":
        """By the pipeline of `eval`, on the first images of their split, at most `EXAMPLES`."""
        reader, probabilities, labels = trained.readers[trained.check_split], [], []
        options = InputOptions(trained.image_size, len(os.sched_getaffinity(0)))
        examples = min(EXAMPLES, len(reader))
        for _, crops, truth in evaluation_batches(reader, World(), options, batch_size=BATCH_SIZE, examples=examples):
            heartbeat()
            probabilities.append(functions.probabilities(crops).numpy())
            labels.append(truth.numpy() - trained.first_class)
        return Reference(np.concatenate(probabilities), np.concatenate(labels))

    def precision_at_1(self, probabilities: Probabilities) -> float:
        return float(np.mean(np.nanargmax(probabilities, axis=1) == self.labels))


def compare(path: Path, bound: float, trained: TrainedModel, reference: Reference, heartbeat: Callable[[], None]) -> Comparison:
    """Compare an export, computed in a fresh process, with the reference.

    Raises:
        ExportError: it cannot be loaded or run, or a probability differs by more than `bound`.
    """
    rows = list(_run(path, trained, len(reference.labels), heartbeat))
    probabilities = np.array(rows, np.float32)
    given = min(TOP, len(trained.classes)) if path.is_dir() else len(trained.classes)  # a SavedModel gives the best alone
    if (np.isfinite(probabilities).sum(axis=1) < given).any():
        raise ExportError(f"{path.name} computes no numbers for some images.", ADVICE)
    difference = float(np.nanmax(np.abs(probabilities - reference.probabilities)))
    comparison = Comparison(
        len(rows),
        difference,
        bound,
        reference.precision_at_1(reference.probabilities),
        reference.precision_at_1(probabilities),
    )
    lost = comparison.precision_at_1_before - comparison.precision_at_1_after
    if not (difference <= bound and lost <= MAX_LOST_PRECISION):
        raise ExportError(f"{path.name} does not compute what the checkpoint does: {comparison}.", ADVICE)
    return comparison


def _run(path: Path, trained: TrainedModel, examples: int, heartbeat: Callable[[], None]) -> Iterator[list[float]]:
    """The probabilities of each image by a fresh process; see check_process.py."""
    wanted = {
        "path": str(path),
        "classes": trained.classes,
        "image_size": trained.image_size,
        "data_dir": str(trained.data_dir),
        "split": trained.check_split,
        "examples": examples,
    }
    command = [sys.executable, "-m", "shardtune.export.check_process"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # all that is compared is computed on cores
    with tempfile.TemporaryFile("w+") as task, tempfile.TemporaryFile("w+") as errors:
        json.dump(wanted, task)
        task.seek(0)
        with subprocess.Popen(
            command, env=environment, stdin=task, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            try:
                assert process.stdout
                for line in process.stdout:
                    heartbeat()
                    yield from json.loads(line)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            errors.seek(0)
            last = (errors.read().strip() or f"status {process.returncode}").splitlines()[-1]
            if process.returncode < 0:
                last = f"the process was killed by signal {-process.returncode}, perhaps for want of memory"
            raise ExportError(f"{path.name} cannot be loaded and run ({last}).", ADVICE)
