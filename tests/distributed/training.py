"""What the tests of distributed training share: jobs on a small network, disturbed ones, and what a run leaves."""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shardtune.model import checkpoint_file
from tests import launching

BODY = ("tests.distributed.train_body",)
INCEPTION = ("shardtune", "train")  # in place of BODY: the real network
TRAIN = [  # flags of a short run of it
    *("--image_size", 75, "--batch_size", 8, "--max_steps", 6, "--log_every", 2),
    *("--optimizer", "adam", "--initial_learning_rate", 0.001, "--batch_norm_decay", 0.8),
]
DRIFTING = "DRIFTING_RANK"  # see BODY
UNBUILDABLE = "UNBUILDABLE_NETWORK"  # see BODY
LATE_WORDS = "LATE_WORDS"
AHEAD = "STEPS_AHEAD"  # see BODY
GLOBAL_BATCH = 12  # of examples: a multiple of 1, 2, 3 and 4
LAUNCHERS = {"alone": "alone", "mpi": "mpirun", "gloo": "gloo"}


def command(data: Path, run: Path, *flags: object, ranks: int = 1, body: tuple[str, ...] = BODY) -> list[str]:
    """`shardtune train` of 24 steps with the small network, unless `flags` and `body` say otherwise."""
    given = {
        **{
            "--data_dir": data,
            "--train_dir": run,
            "--image_size": 75,
            "--batch_size": GLOBAL_BATCH // ranks,
            "--max_steps": 24,
        },
        **{"--lr_scaling": "none", "--initial_learning_rate": 0.05, "--log_every": 1, "--validate_epochs": 0},
    }
    words = [str(word) for pair in given.items() for word in pair if pair[0] not in flags]
    return [sys.executable, "-m", *body, *words, *map(str, flags)]


def train(
    data: Path,
    run: Path,
    *flags: object,
    over: str,
    ranks: int,
    environment: Mapping[str, str] = {},
    body: tuple[str, ...] = BODY,
    timeout: float = 120,
) -> str:
    """Train to the end; returns the output."""
    line = command(data, run, *flags, ranks=ranks, body=body)
    done = launching.run(line, launcher=LAUNCHERS[over], ranks=ranks, timeout=timeout, environment=environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Disturbed:
    """A job that is to be disturbed after some steps; killed at the end of the block if it has not ended."""

    def __init__(
        self,
        data: Path,
        run: Path,
        *flags: object,
        over: str,
        ranks: int = 2,
        body: tuple[str, ...] = BODY,
        environment: Mapping[str, str] = {},
    ) -> None:
        self._run, self._over = run, over
        line = command(data, run, *flags, ranks=ranks, body=body)
        self._job = launching.start(line, launcher=LAUNCHERS[over], ranks=ranks, environment=environment)

    def __enter__(self) -> "Disturbed":
        return self

    def __exit__(self, *_: object) -> None:
        if self._job.poll() is None:
            os.killpg(self._job.pid, signal.SIGKILL)
            self._job.communicate()

    def wait_for_steps(self, count: int) -> bool:
        """Return when as many are done, or False when the job has ended before."""
        while lines(self._run) < count:
            if self._job.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def rank(self, number: int) -> psutil.Process:
        """The process of a rank, when the launcher has started it."""
        while self._job.poll() is None:
            for process in self._processes():
                with suppress(psutil.NoSuchProcess):
                    environment = process.environ()
                    mine = environment.get("OMPI_COMM_WORLD_RANK") or environment.get("HOROVOD_RANK")
                    if mine == str(number) or (self._over == "alone" and process.pid == self._job.pid):
                        return process
            time.sleep(0.02)
        raise AssertionError(f"rank {number} does not run")

    def _processes(self) -> list[psutil.Process]:
        """Those of the job that train, or are about to."""
        found = []
        with suppress(psutil.NoSuchProcess):
            job = psutil.Process(self._job.pid)
            for process in [job, *job.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    if "--train_dir" in process.cmdline() and process.name().startswith("python"):
                        found.append(process)
        return found

    def end(self, timeout: float) -> tuple[int, str]:
        """Status of the launcher and its output, when the job has ended."""
        done = launching.finish(self._job, timeout)
        return done.returncode, done.stdout


def lines(run: Path) -> int:
    """How many lines of metrics there are: one a step."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def metrics(run: Path, name: str) -> dict[int, float]:
    """The values of a metric by step."""
    values = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {value["step"]: value[name] for value in values if name in value}


def outcome(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "outcome.json").read_text()))


def final(run: Path) -> checkpoint_file.Tensors:
    """All that the newest checkpoint holds."""
    newest = checkpoint_file.latest(run)
    assert newest
    return checkpoint_file.load(newest[1])


def digest(run: Path) -> str:
    """SHA-256 of all that the newest checkpoint holds, bit by bit."""
    sha = hashlib.sha256()
    for name, tensor in sorted(final(run).items()):
        sha.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + np.ascontiguousarray(tensor).tobytes())
    return sha.hexdigest()
