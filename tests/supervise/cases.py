"""Schedules with what is expected of a supervisor, and how they are checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from shardtune.errors import ShardtuneError
from shardtune.supervise.command import run
from shardtune.supervise.config import SuperviseConfig
from tests.supervise.schedule import HOST, PID, Run, ScheduledMachine

TRAIN = ("shardtune", "train", "--train_dir", "{train_dir}")
STOP_RANK = f"SIGUSR1 to {PID} on {HOST}"


@dataclass(frozen=True)
class Case:
    """A schedule and what is expected of the supervisor.

    Attributes:
        options: of shardtune supervise.
        starts: how often the launcher is started.
        printed: how each line begins, without the commands; the last line is the error if there is one.
        events: what is done to processes, with the second.
    """

    name: str
    runs: tuple[Run, ...]
    status: int
    signals: tuple[tuple[float, Signals], ...] = ()
    options: tuple[tuple[str, object], ...] = ()
    starts: int = 1
    printed: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


def supervise(machine: ScheduledMachine, **options: object) -> int:
    """Supervise a run in the machine's directory; returns the status, and adds an error to what is printed."""
    command = options.pop("command", TRAIN)
    assert isinstance(command, tuple)
    words = tuple(word.format(train_dir=machine.train_dir) for word in command)
    try:
        return run(
            SuperviseConfig(words, **options),  # type: ignore[arg-type]
            machine,
            {"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "3"},
        )
    except ShardtuneError as error:
        machine.say(str(error))
        return error.exit_status


def check(case: Case, attempt: int | None, train_dir: Path) -> None:
    """Run a schedule.

    Args:
        attempt: which an earlier start has left in outcome.json, or None; it must not be taken for one of this supervisor's.
    """
    if attempt is not None:
        (train_dir / "outcome.json").write_text(json.dumps({"attempt": attempt, "outcome": "running", "host": "x", "pid": 1}))
    machine = ScheduledMachine(train_dir, case.runs, case.signals)
    status = supervise(machine, **dict(case.options))
    assert (status, len(machine.started)) == (case.status, case.starts), machine.lines
    lines = [line for line in machine.lines if not line.startswith("+ ")]
    assert len(lines) == len(case.printed), lines
    for line, expected in zip(lines, case.printed, strict=True):
        assert line.startswith(expected.format(train_dir=train_dir))
    assert tuple(machine.events) == case.events
    assert [line for line in machine.lines if line.startswith("+ ")] == [f"+ {words}" for words in machine.started]
