"""Guards take part in roll calls. The test plays the other rank of a job of two."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shardtune.runtime.guard import ROLL_CALL_NAME, Guard
from shardtune.runtime.processes import read_status
from shardtune.runtime.rollcall import Member, Report, RollCall
from tests.runtime.guarded import start

HOST = socket.gethostname()
pytestmark = pytest.mark.timeout(60)  # what is waited for comes


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """The process of the other rank, which itself does nothing."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    guard.start()
    yield guard
    guard.stop()


def member(process: subprocess.Popen[bytes]) -> Member:
    status = read_status(process.pid)
    return Member(HOST, process.pid, status and status.start_time)


def join(guard: Guard, rank: int, directory: Path, other: subprocess.Popen[bytes]) -> RollCall:
    """Register `guard` as `rank`. Returns the other rank's part in the roll calls."""
    members = [Member.this_process(), member(other)]
    if rank == 1:
        members.reverse()
    guard.register_ranks("job", rank, members)
    guard.use_roll_call(directory)
    there = RollCall(directory / ROLL_CALL_NAME, "job", 1 - rank, members, (0, 1))
    there.create_files()
    return there


def wait_until(is_so: Callable[[], object]) -> None:
    while not is_so():
        time.sleep(0.01)


def ask(there: RollCall, rank: int) -> Report:
    """The position of `rank`, which answers a new call."""
    there.withdraw()
    there.call()
    while True:
        there.report("stuck", (0, 0, 0), "asking")
        if (answers := there.answers()) and (report := answers[rank]):
            there.withdraw()
            return report


def test_collectives_then_steps_then_phases_are_how_far_a_rank_is(
    guard: Guard, tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    there = join(guard, 0, tmp_path, other)
    first = ask(there, 0)
    assert (first.state, first.order, first.position) == ("working", [0, 0, 0], "starting")
    guard.heartbeat("at first")
    assert ask(there, 0).order == [0, 0, 0]
    guard.heartbeat("in step 7", step=7, phase=2)
    assert ask(there, 0).order == [0, 7, 2]
    with guard.waiting_for_ranks():
        within = ask(there, 0)
        assert (within.order, within.position) == ([1, 7, 2], "waiting for the other ranks")
    after = ask(there, 0)
    assert (after.order, after.position) == ([1, 7, 2], "in step 7")


def test_a_late_rank_asks_until_it_works_again(
    guard: Guard, tmp_path: Path, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardtune.runtime.guard.GIL_SECONDS", 600.0)  # on a busy machine, too, no guard ends this process
    monkeypatch.setattr("shardtune.runtime.rollcall.ANSWER_SECONDS", 600.0)
    there = join(guard, 0, tmp_path, other)
    guard.set_timeout(0.5)
    wait_until(lambda: there.is_called)
    guard.set_timeout(600.0)
    wait_until(lambda: not there.is_called)
    assert ask(there, 0).state == "working"
    time.sleep(1.5)  # some looks
    assert not there.is_called


def test_a_failed_rank_kills_a_silent_one_and_says_so(guard: Guard, tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    join(guard, 0, tmp_path, other)
    other.send_signal(signal.SIGSTOP)
    assert guard.find_silent_ranks() == ([1], f"rank 1 of 2 on {HOST} does not answer", True)
    assert other.wait() == -signal.SIGKILL


def test_a_late_rank_kills_a_silent_one_of_its_host_and_ends(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    other.send_signal(signal.SIGSTOP)
    code = f"""
import tempfile
from shardtune.runtime.rollcall import Member
tempfile.tempdir = {str(tmp_path)!r}
guard.register_ranks("job", 0, [Member.this_process(), {member(other)!r}])
guard.set_timeout(0.5)
blocked()
"""
    hung = start(tmp_path, code)
    assert hung.communicate(timeout=60)[0] == f"No progress for 0.5 s: rank 1 of 2 on {HOST} does not answer\n"
    assert hung.returncode == 1
    assert other.wait() == -signal.SIGKILL


def test_the_lowest_failed_rank_reports(guard: Guard, tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    there = join(guard, 1, tmp_path, other)

    def answer() -> None:
        wait_until(lambda: there.is_called)
        there.report("working", (0, 0, 0), "at work")

    thread = threading.Thread(target=answer)
    thread.start()
    silent, _, is_reporter = guard.find_silent_ranks()
    thread.join()
    assert (silent, is_reporter) == ([], True)
