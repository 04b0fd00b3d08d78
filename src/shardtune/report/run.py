"""What a run directory says, also while the run is going: whatever is missing or cut off is left out."""

import ast
import json
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from shardtune.errors import DataError
from shardtune.evaluate.predictions import Predictions
from shardtune.evaluate.result import Result, read_result, result_folders
from shardtune.model import checkpoint_file
from shardtune.report.scale import format_seconds
from shardtune.runtime.outcome import OUTCOME_NAME, read_outcome
from shardtune.runtime.processes import read_status

ATTEMPT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) Attempt (\d+), rank (\d+) of (\d+) on (.*): (\{.*\})")
SILENT_SECONDS = 600.0  # the default of --hang_timeout: a run that is silent for longer may have been killed
WAITS = {"input_share": "waiting for input", "communication_share": "waiting for other workers"}  # keys of metrics.jsonl


@dataclass(frozen=True)
class Attempt:
    """One start of a run.

    Attributes:
        started: day and time, as the first rank logged it.
        versions: of packages.
    """

    number: int
    started: str
    workers: int
    hosts: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Evaluation:
    """What `shardtune eval` has left.

    Attributes:
        names: of the classes, by label; the background class is the first.
    """

    result: Result
    predictions: Predictions

    @property
    def names(self) -> list[str]:
        return [str(each["name"]).encode(errors="replace").decode() for each in self.result["classes"]]


@dataclass(frozen=True)
class Run:
    """A run directory.

    Attributes:
        name: tells it from the other runs of the report.
        config: config.json.
        metrics: the lines of metrics.jsonl.
        outcome: outcome.json; empty before the first start has begun.
        silent_seconds: since the run last wrote its outcome, a line of metrics or of a log; 0 where there is none of these.
        best: "step" and "precision_at_1" of best.json, those of them that are numbers.
        evaluation: None where there is none that can be read; then `evaluation_note` says why.
    """

    directory: Path
    name: str
    config: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    outcome: Mapping[str, Any]
    silent_seconds: float
    best: Mapping[str, Any]
    attempts: Sequence[Attempt]
    evaluation: Evaluation | None
    evaluation_note: str

    @property
    def flags(self) -> Mapping[str, Any]:
        return dict(self.config["config"])

    @property
    def data_dir(self) -> Path:
        return Path(str(self.flags.get("data_dir")))

    @property
    def step(self) -> int:
        """The last step that is known."""
        return max(0, int(self.outcome.get("step") or 0), *(int(line["step"]) for line in self.metrics))

    @property
    def is_going(self) -> bool:
        """Whether the run was going when this was read, as far as can be told."""
        return self.outcome.get("outcome") == "running" and not (self._is_killed or self._is_silent)

    @property
    def _is_killed(self) -> bool:
        """Whether the process of rank 0 has ended, where that can be seen: another may have its number by now."""
        process = read_status(self.outcome.get("pid", 0))
        return self.outcome.get("host") == socket.gethostname() and (process is None or process.state in "ZX")

    @property
    def _is_silent(self) -> bool:
        timeout = self.flags.get("hang_timeout")
        return self.silent_seconds > max(SILENT_SECONDS, timeout if isinstance(timeout, int | float) else 0.0)

    @property
    def status(self) -> str:
        """How far the run is, and how it ended, as a sentence."""
        outcome, reason = self.outcome.get("outcome"), self.outcome.get("reason") or self.outcome.get("error")
        silent, taken = format_seconds(self.silent_seconds), f"{self.step} steps"
        if self.is_going:
            going = f"This run was going when the page was made: it had taken {taken}, and was last heard of {silent} before."
            return f"{going} All figures are so far."
        if outcome == "running" and self._is_killed:
            return f"The last start of this run has ended without a word, after {taken} or more: it was killed."
        if outcome == "running":
            return f"This run has not been heard of for {silent}: it may have been killed, after {taken} or more."
        because = f": {reason}" if reason else "."
        words = {"finished": "It has finished", "stopped": "It was stopped", "failed": "It has failed"}
        return f"{words.get(str(outcome), 'It has not begun')} after {taken}{because}"

    @property
    def seconds(self) -> float:
        """The time of the steps in metrics, without validation and saving."""
        return sum(self._weights)

    @property
    def times(self) -> dict[str, float]:
        """Where the time of a step goes: shares, 1 together; empty where nothing was measured."""
        seconds = self.seconds
        if not seconds > 0:
            return {}
        waits = {
            name: sum(weight * line.get(key, 0.0) for weight, line in zip(self._weights, self._timed, strict=True)) / seconds
            for key, name in WAITS.items()
            if any(key in line for line in self._timed)
        }
        return {"computing": max(0.0, 1 - sum(waits.values())), **waits}

    @property
    def _timed(self) -> list[Mapping[str, Any]]:
        return [line for line in self.metrics if isinstance(line.get("step_seconds"), int | float)]

    @property
    def _weights(self) -> list[float]:
        """For each line with a time: seconds of its steps."""
        steps = [0, *(line["step"] for line in self._timed)]
        return [(end - start) * line["step_seconds"] for (start, end), line in zip(pairwise(steps), self._timed, strict=True)]


def read_run(directory: Path, name: str, eval_dir: Path | None) -> Run:
    """The run in `directory`.

    Raises:
        CheckpointError: it is no run directory.
        DataError: `eval_dir` was given, and what is there cannot be read.
    """
    config = checkpoint_file.load_run_config(directory)
    metrics = read_lines(directory / checkpoint_file.METRICS_NAME)
    best = _read_json(checkpoint_file.best_path(directory))
    evaluation, note = _find_evaluation(directory, eval_dir)
    return Run(
        directory=directory,
        name=name,
        config=config,
        metrics=[line for line in metrics if isinstance(line.get("step"), int)],
        outcome=read_outcome(directory),
        silent_seconds=_silent_seconds(directory),
        best={name: value for name, value in best.items() if isinstance(value, int | float)},
        attempts=_read_attempts(directory / "logs"),
        evaluation=evaluation,
        evaluation_note=note,
    )


def read_lines(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """The objects in the first lines of a file of JSON lines; a line that is cut off is left out. None without a file."""
    lines = []
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        for text in islice(file, limit):
            with suppress(ValueError, RecursionError):
                value = json.loads(text)
                if isinstance(value, dict):
                    lines.append(value)
    return lines


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def _silent_seconds(directory: Path) -> float:
    times = []
    for path in (directory / OUTCOME_NAME, directory / checkpoint_file.METRICS_NAME, *directory.glob("logs/rank-*.log")):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    now = time.time()
    return max(0.0, now - max(times, default=now))


def _find_evaluation(directory: Path, eval_dir: Path | None) -> tuple[Evaluation | None, str]:
    try:
        return Evaluation(*read_result(eval_dir or result_folders(directory)[0])), ""
    except DataError as error:
        if eval_dir:
            raise
        return None, str(error)


def _read_attempts(logs: Path) -> list[Attempt]:
    """Every start of the run, from the logs of all ranks."""
    starts: dict[int, dict[int, re.Match[str]]] = {}
    for path in sorted(logs.glob("rank-*.log")):
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if " Attempt " in line and (match := ATTEMPT.fullmatch(line.rstrip("\n"))):
                    starts.setdefault(int(match[2]), {})[int(match[3])] = match
    return [_attempt(number, [ranks[rank] for rank in sorted(ranks)]) for number, ranks in sorted(starts.items())]


def _attempt(number: int, ranks: Sequence[re.Match[str]]) -> Attempt:
    versions: dict[str, str] = {}
    with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        versions = {str(name): str(version) for name, version in dict(ast.literal_eval(ranks[0][6])).items()}
    return Attempt(number, ranks[0][1], int(ranks[0][4]), tuple(dict.fromkeys(rank[5] for rank in ranks)), versions)
