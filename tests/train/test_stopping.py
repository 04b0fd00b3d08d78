import os
import signal
import socket
from pathlib import Path

import pytest

from shardtune.runtime.outcome import read_outcome
from shardtune.train.stopping import OutcomeFile, StopRequest


def test_a_signal_is_a_reason() -> None:
    request = StopRequest(None)
    assert request.reason is None
    assert not request.is_made
    request.record_signal(signal.SIGUSR1)
    assert request.reason == "signal SIGUSR1"
    assert request.is_made


def test_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    request = StopRequest("1m30s")
    now += 90
    assert request.reason is None
    now += 0.1
    assert request.reason == "the time limit of 1m30s"


def test_without_a_limit_nothing_stops_a_run() -> None:
    assert StopRequest(None).reason is None


def test_the_first_rank_that_fails_is_believed(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) == {}
    root, other = (OutcomeFile(tmp_path, rank, attempt=1) for rank in (0, 1))
    for outcome in (root, other):
        outcome.mark_running(step=0)
    expected = {"outcome": "running", "attempt": 1, "step": 0, "pid": os.getpid(), "host": socket.gethostname()}
    assert read_outcome(tmp_path) == expected
    other.mark_failed(error="the cause")
    root.mark_failed(error="a consequence")
    assert read_outcome(tmp_path) == {"outcome": "failed", "attempt": 1, "error": "the cause"}
    again = OutcomeFile(tmp_path, 0, attempt=2)
    again.mark_running(step=3)
    again.mark_failed(error="something new")
    assert read_outcome(tmp_path) == {"outcome": "failed", "attempt": 2, "error": "something new"}


def test_rank_0_alone_writes_how_a_job_runs_and_ends(tmp_path: Path) -> None:
    root, other = (OutcomeFile(tmp_path, rank, attempt=1) for rank in (0, 1))
    other.mark_running(step=0)
    assert read_outcome(tmp_path) == {}
    root.mark_running(step=0)
    other.mark_ended("finished", step=1)
    assert read_outcome(tmp_path)["outcome"] == "running"
    root.mark_ended("finished", step=1)
    assert read_outcome(tmp_path) == {"outcome": "finished", "attempt": 1, "step": 1}


def test_a_start_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    OutcomeFile(tmp_path, 0, attempt=1).mark_ended("stopped", step=3)
    OutcomeFile(tmp_path, 0, attempt=2).mark_failed(error="another configuration")
    assert read_outcome(tmp_path) == {"outcome": "stopped", "attempt": 1, "step": 3}


@pytest.mark.parametrize("content", ["", "{", "[]", "[1]", "7", "[" * 100_000, '{"attempt": "x"}', '{"attempt": null}'])
def test_a_damaged_outcome_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "outcome.json").write_text(content)
    assert read_outcome(tmp_path) == {}
