"""Ranks that hang or are lost end the job, which says so of the right one; those that only take long do not."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import run

BODY = str(Path(__file__).with_name("guard_body.py"))
HOST = re.escape(socket.gethostname())
LAUNCHERS = {"mpi": "mpirun", "horovod": "gloo"}
BACKENDS = ["mpi", pytest.param("horovod", marks=pytest.mark.exhaustive)]
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def ranks(scenario: str, backend: str, directory: Path, count: int = 2) -> subprocess.CompletedProcess[str]:
    temporary = {"TMPDIR": str(directory)}
    return run(
        [sys.executable, BODY, scenario, backend, str(directory)],
        launcher=LAUNCHERS[backend],
        ranks=count,
        timeout=120,
        environment=temporary,
    )


def test_ranks_whose_last_beats_lie_apart_are_asked_and_not_killed(backend: str, tmp_path: Path) -> None:
    done = ranks("hangs", backend, tmp_path, 3)
    assert done.returncode != 0
    assert re.findall("No progress.*", done.stdout) == [
        f"No progress for 1.5 s: rank 0 of 3 on {socket.gethostname()} is late (in step 0) [0]"
    ]
    logs = [(tmp_path / f"log-{rank}").read_text() for rank in range(3)]
    assert ["in hangs" in log for log in logs] == [True] * 3  # all lived to write their stacks
    assert "signal 9" not in done.stdout


@pytest.mark.exhaustive
def test_a_rank_that_works_is_waited_for(backend: str, tmp_path: Path) -> None:
    done = ranks("works", backend, tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(" of 2 ok") == 2
    assert not (tmp_path / "roll-call").exists()


def test_ranks_of_other_hosts_wait_for_one_that_works_before_they_share_a_directory(backend: str, tmp_path: Path) -> None:
    if backend == "horovod":
        pytest.skip("gather is for MPI")
    done = ranks("gathers", backend, tmp_path, 3)
    assert done.returncode == 0, done.stdout


def test_a_silent_rank_is_named_before_ranks_share_a_directory(backend: str, tmp_path: Path) -> None:
    done = ranks("is_silent", backend, tmp_path)
    assert done.returncode != 0
    assert re.search(rf"No progress for 1.5 s: rank 1 of 2 on {HOST} does not answer \[1\]", done.stdout)


def test_a_rank_that_does_not_come_to_the_first_collective_ends_the_job(backend: str, tmp_path: Path) -> None:
    done = ranks("does_not_come", backend, tmp_path)
    assert done.returncode != 0
    # Each rank says it of itself: none knows yet where the other one is.
    assert re.search(
        rf"No progress for 1.5 s: rank (0 of 2 on {HOST} is waiting for the other|1 of 2 on {HOST} is)", done.stdout
    )


def test_a_rank_that_is_not_there_ends_the_job(backend: str, tmp_path: Path) -> None:
    done = ranks("is_not_there", backend, tmp_path)
    assert done.returncode != 0
    assert "shardtune: Some of the 2 processes of this job have not connected in time. Check that " in done.stdout


def test_a_failure_with_nobody_missing_is_said_by_one(backend: str, tmp_path: Path) -> None:
    done = ranks("fails", backend, tmp_path, 3)
    assert done.returncode == 0, done.stdout
    assert sorted(re.findall(r"rank \d: \[\] (?:True|False)", done.stdout)) == [
        f"rank {rank}: [] {not rank}" for rank in range(3)
    ]
