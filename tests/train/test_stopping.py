import os
import signal
import socket
from pathlib import Path

import pytest

from shardtune.train.stopping import OutcomeFile, StopRequest


def test_a_signal_is_a_reason() -> None:
    request = StopRequest(None)
    assert request.reason is None
    request.note(signal.SIGUSR1)
    assert request.reason == "signal SIGUSR1"


def test_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    request = StopRequest("1m30s")
    now += 90
    assert request.reason is None
    now += 0.1
    assert request.reason == "the time limit of 1m30s"


def test_without_a_limit_a_run_goes_on() -> None:
    assert StopRequest(None).reason is None


def test_the_first_rank_that_fails_is_believed(tmp_path: Path) -> None:
    root, other = (OutcomeFile(tmp_path, rank) for rank in (0, 1))
    assert root.read() == {}
    root.attempt = other.attempt = 1
    for outcome in (root, other):
        outcome.begin(step=0)
    assert root.read() == {"outcome": "running", "attempt": 1, "step": 0, "pid": os.getpid(), "host": socket.gethostname()}
    other.fail(error="the cause")
    root.fail(error="a consequence")
    assert root.read() == {"outcome": "failed", "attempt": 1, "error": "the cause"}
    again = OutcomeFile(tmp_path, 0)
    assert again.attempt == 1
    again.attempt += 1
    again.begin(step=3)
    again.fail(error="something new")
    assert again.read() == {"outcome": "failed", "attempt": 2, "error": "something new"}


def test_rank_0_alone_tells_that_a_job_runs(tmp_path: Path) -> None:
    OutcomeFile(tmp_path, 1).begin(step=0)
    assert OutcomeFile(tmp_path, 0).read() == {}
    OutcomeFile(tmp_path, 0).begin(step=0)
    assert OutcomeFile(tmp_path, 1).read()["outcome"] == "running"


def test_a_start_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    OutcomeFile(tmp_path, 0).write("stopped", step=3)
    outcome = OutcomeFile(tmp_path, 0)
    outcome.attempt += 1
    outcome.fail(error="another configuration")
    assert outcome.read() == {"outcome": "stopped", "attempt": 0, "step": 3}


@pytest.mark.parametrize("content", ["", "{", "[]", "[1]", "7", "[" * 100_000, '{"attempt": "x"}', '{"attempt": null}'])
def test_a_damaged_outcome_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "outcome.json").write_text(content)
    assert OutcomeFile(tmp_path, 0).read() == {}
