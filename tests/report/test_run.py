import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from shardtune.errors import CheckpointError, DataError
from shardtune.report.comparison import differences
from shardtune.report.run import SILENT_SECONDS, Run, read_run
from tests.report.conftest import Reported
from tests.report.runs import write_run

HERE = socket.gethostname()
NOBODY = 2**22 + 1  # above the highest number of a process


def run_of(directory: Path, reported: Reported, **written: Any) -> Run:
    return read_run(write_run(directory, reported.data, **written), "run", None)


def running(host: str, pid: int) -> dict[str, Any]:
    return {"outcome": "running", "attempt": 1, "step": 20, "pid": pid, "host": host}


GOING = "This run was going when the page was made: it had taken "
KILLED = "The last start of this run has ended without a word, after 40 steps or more: it was killed."
SILENT = "This run has not been heard of for 11 min 0 s: it may have been killed, after 40 steps or more."


@pytest.mark.parametrize(
    ("outcome", "silent", "is_going", "status"),
    [
        (running(HERE, os.getpid()), 0, True, GOING),
        (running(HERE, os.getpid()), SILENT_SECONDS + 60, False, SILENT),  # another process may have its number by now
        (running(HERE, NOBODY), 0, False, KILLED),
        (running(HERE, NOBODY), SILENT_SECONDS + 60, False, KILLED),
        (running("elsewhere", NOBODY), 0, True, GOING),
        (running("elsewhere", NOBODY), SILENT_SECONDS + 60, False, SILENT),
        ({"outcome": "finished", "step": 40}, 0, False, "It has finished after 40 steps."),
        (
            {"outcome": "stopped", "step": 33, "reason": "signal SIGTERM on rank 1"},
            0,
            False,
            "It was stopped after 40 steps: sig",
        ),
        ({"outcome": "failed", "error": "The loss diverged."}, 0, False, "It has failed after 40 steps: The loss diverged."),
        ({}, 0, False, "It has not begun after 40 steps."),
        ({"outcome": "running", "host": HERE, "pid": "x"}, 0, False, KILLED),
    ],
)
def test_the_status_says_how_far_a_run_is(
    tmp_path: Path, reported: Reported, outcome: dict[str, Any], silent: float, is_going: bool, status: str
) -> None:
    directory = write_run(tmp_path / "run", reported.data, steps=40, outcome=outcome or {"x": 0})
    grow_old(directory, silent)
    run = read_run(directory, "run", None)
    assert (run.is_going, run.status[: len(status)]) == (is_going, status)


def grow_old(directory: Path, seconds: float) -> None:
    for path in directory.rglob("*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


@pytest.mark.parametrize("host", [HERE, "elsewhere"])
def test_a_run_that_has_just_begun_is_going(tmp_path: Path, reported: Reported, host: str) -> None:
    directory = write_run(tmp_path / "run", reported.data, steps=0, outcome=running(host, os.getpid()) | {"step": 0})
    (directory / "metrics.jsonl").unlink()
    run = read_run(directory, "run", None)
    assert (run.is_going, run.status[: len(GOING)]) == (True, GOING)
    assert run.status.endswith(" s before. All figures are so far.")


@pytest.mark.parametrize("name", ["outcome.json", "metrics.jsonl", "logs/rank-1.log"])
def test_a_run_is_heard_of_by_whatever_it_writes(tmp_path: Path, reported: Reported, name: str) -> None:
    directory = write_run(tmp_path / "run", reported.data, steps=40, outcome=running("elsewhere", NOBODY))
    grow_old(directory, 5000)
    assert not read_run(directory, "run", None).is_going
    (directory / name).touch()
    assert read_run(directory, "run", None).is_going


def test_a_run_may_be_silent_for_its_hang_timeout(tmp_path: Path, reported: Reported) -> None:
    flags = {"hang_timeout": 7200.0}
    directory = write_run(tmp_path / "run", reported.data, outcome=running("elsewhere", NOBODY), flags=flags)
    grow_old(directory, 7000)
    assert read_run(directory, "run", None).is_going
    grow_old(directory, 300)
    assert not read_run(directory, "run", None).is_going


def test_times_add_up(tmp_path: Path, reported: Reported) -> None:
    directory = write_run(tmp_path / "run", reported.data, steps=40)
    lines = [
        {"step": 10, "step_seconds": 1.0, "input_share": 0.5, "communication_share": 0.25},
        {"step": 10, "validation_precision_at_1": 0.5},
        {"step": 20, "step_seconds": 3.0, "input_share": 0.1},  # of a GPU: communication is not known
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = read_run(directory, "run", None)
    assert run.seconds == 40
    assert run.times == pytest.approx({"computing": 0.7375, "waiting for input": 0.2, "waiting for other workers": 0.0625})
    (directory / "metrics.jsonl").write_text(json.dumps(lines[2]))
    assert read_run(directory, "run", None).times == pytest.approx({"computing": 0.9, "waiting for input": 0.1})


def test_a_start_is_read_from_the_logs_of_all_ranks(tmp_path: Path, reported: Reported) -> None:
    run = run_of(tmp_path / "run", reported, attempts=(("a", "a", "b"), ("a: {'b'}",)))
    assert [(each.number, each.workers, each.hosts) for each in run.attempts] == [(1, 3, ("a", "b")), (2, 1, ("a: {'b'}",))]
    assert (run.attempts[0].started, run.attempts[1].versions["tensorflow"]) == ("2026-01-01 10:00:00", "2.21.0")


def test_what_is_cut_off_or_missing_is_left_out(tmp_path: Path, reported: Reported) -> None:
    directory = write_run(tmp_path / "run", reported.data, steps=40)
    with (directory / "metrics.jsonl").open("ab") as file:
        file.write(b'[1]\n{"loss": 3}\n\xff\n{"step": 50, "lo')
    (directory / "outcome.json").unlink()
    (directory / "checkpoints" / "best.json").write_text("[")
    (directory / "logs" / "rank-7.log").write_text("2026-01-01 10:00:00 Attempt 9, rank 7 of 8 on x: {__import__('os')}\n")
    run = read_run(directory, "run", None)
    assert (run.step, run.best, run.attempts[-1].versions) == (40, {}, {})
    (directory / "metrics.jsonl").unlink()
    run = read_run(directory, "run", None)
    assert (run.step, run.times, run.seconds) == (0, {}, 0)
    with pytest.raises(CheckpointError, match="is no run directory"):
        read_run(tmp_path, "run", None)


def test_an_evaluation_is_found_in_its_folder_or_beside_the_run(tmp_path: Path, reported: Reported) -> None:
    directory = write_run(tmp_path / "run", reported.data)
    assert read_run(directory, "run", None).evaluation_note.endswith("does not exist. Run shardtune eval first.")
    with pytest.raises(DataError, match=r"eval\.json does not exist"):
        read_run(directory, "run", tmp_path)
    for name in ("eval.json", "predictions.csv"):
        (directory / name).write_bytes((reported.run / "eval" / name).read_bytes())
    for eval_dir in (None, directory, reported.run / "eval"):
        evaluation = read_run(directory, "run", eval_dir).evaluation
        assert evaluation
        assert len(evaluation.predictions) == 25
    (directory / "predictions.csv").write_text("")
    run = read_run(directory, "run", None)
    assert run.evaluation is None
    assert "predictions.csv" in run.evaluation_note


def test_only_what_differs_is_listed(tmp_path: Path, reported: Reported) -> None:
    one = run_of(tmp_path / "one", reported)
    other = run_of(tmp_path / "other", reported, flags={"optimizer": "adam", "epochs": 2}, attempts=(("first",),))
    assert differences([one, one]) == []
    assert differences([one, other]) == [
        ("--epochs", ["–", "2"]),
        ("--optimizer", ["sgd", "adam"]),
        ("workers", ["2", "1"]),
        ("hosts", ["first, second", "first"]),
    ]
