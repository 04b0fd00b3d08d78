"""A process that hangs ends by itself."""

import io
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shardtune.runtime.guard import ROLL_CALL_NAME, Guard
from shardtune.runtime.rollcall import Member
from tests.launching import ENVIRONMENT
from tests.runtime.guarded import LOCKED, start

HANG = """
guard.set_timeout(0.5)
guard.heartbeat("at work", step=41)
with guard.waiting_for_ranks():
    {within}
blocked()
"""


@pytest.mark.parametrize(("within", "position"), [("pass", "at work"), ("blocked()", "waiting for the other ranks")])
def test_a_hang_ends_with_stacks(tmp_path: Path, within: str, position: str) -> None:
    hung = start(tmp_path, HANG.format(within=within))
    stdout, stderr = hung.communicate(timeout=60)
    assert hung.returncode == 1, stderr
    assert stdout == f"No progress for 0.5 s: this process is {position}\n"
    log = (tmp_path / "log").read_text()
    assert log.startswith(f"No progress for 0.5 s; this rank is {position}. Stacks:\n")
    assert "in blocked" in log


def test_a_hang_that_keeps_the_lock_of_python_ends_with_stacks(tmp_path: Path) -> None:
    hung = start(tmp_path, HANG.format(within="pass"), LOCKED)
    stdout, stderr = hung.communicate(timeout=60)
    assert (hung.returncode, stdout) == (1, ""), stderr
    assert "in blocked" in (tmp_path / "log").read_text()


def test_a_hang_is_reported_where_stacks_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    hung = start(tmp_path, "guard.set_timeout(0.5)\nblocked()")
    assert hung.communicate(timeout=60)[0] == "No progress for 0.5 s: this process is starting\n"
    assert hung.returncode == 1


def test_a_rank_that_cannot_write_speaks_of_itself(tmp_path: Path) -> None:
    code = """
import socket
from shardtune.runtime.rollcall import Member
guard.register_ranks("job", 1, [Member(socket.gethostname(), 1, None), Member.this_process()])
guard.use_roll_call(Path("/dev/null"))
guard.set_timeout(0.5)
blocked()
"""
    hung = start(tmp_path, code)
    position = f"rank 1 of 2 on {socket.gethostname()} is starting"
    assert hung.communicate(timeout=60)[0] == f"No progress for 0.5 s: {position}, the others could not be asked\n"
    assert hung.returncode == 1


def test_a_rank_whose_report_hangs_ends_too(tmp_path: Path) -> None:
    code = """
from shardtune.runtime.rollcall import Member
sys.modules["shardtune.runtime.guard"].EXIT_SECONDS = 0.5
guard.stop()
guard = Guard()
guard.report_to(Path(sys.argv[1]), lambda sentence, ranks: blocked())
guard.start()
guard.register_ranks("job", 0, [Member.this_process()])
guard.use_roll_call(Path(sys.argv[1]).parent)
guard.set_timeout(0.5)
blocked()
"""
    hung = start(tmp_path, code)
    hung.communicate(timeout=60)
    assert hung.returncode == 1


def test_without_a_log_stacks_and_report_go_to_stderr(tmp_path: Path) -> None:
    redirect = f"sys.stderr = open({str(tmp_path / 'stderr')!r}, 'w')"  # with a buffer
    hung = start(tmp_path, f"guard.stop()\nguard = Guard()\nguard.start()\n{redirect}\nguard.set_timeout(0.5)\nblocked()")
    stacks = hung.communicate(timeout=60)[1]
    assert hung.returncode == 1
    assert stacks.startswith("No progress for 0.5 s; this rank is starting. Stacks:\n")
    assert "in blocked" in stacks
    assert (tmp_path / "stderr").read_text() == "shardtune: No progress for 0.5 s: this process is starting\n"


@pytest.mark.parametrize(
    "code",
    [
        'guard.set_timeout(0.5); guard.heartbeat("tracing", compiles=True)',
        'sys.modules["shardtune.runtime.guard"].GIL_SECONDS = 0.0; guard.set_timeout(0.5); guard.stop()',
    ],
)
def test_what_may_take_long_is_left_alone(tmp_path: Path, code: str) -> None:
    left = start(tmp_path, f"{code}\ntime.sleep(2)\nprint('done')")
    stdout, stderr = left.communicate(timeout=60)
    assert (left.returncode, stdout) == (0, "done\n"), stderr


@pytest.mark.timeout(60)
def test_a_guard_that_is_stopped_does_not_wait_for_its_next_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shardtune.runtime.guard.POLL_SECONDS", 1e6)
    guard = Guard()
    before = sorted(Path("/proc/self/fd").iterdir())
    guard.report_to(tmp_path / "log", lambda sentence, ranks: None)
    guard.start()
    guard.interrupts.catch()
    guard.stop()
    assert "guard" not in [thread.name for thread in threading.enumerate()]
    guard.stop()  # once more changes nothing
    guard.interrupts.restore()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize(("rank", "remains"), [(0, False), (1, True)])
def test_rank_0_removes_what_ranks_asked_through(tmp_path: Path, rank: int, remains: bool) -> None:
    guard = Guard()
    guard.start()
    guard.register_ranks("job", rank, [Member.this_process()] * 2)
    guard.use_roll_call(tmp_path)
    (tmp_path / ROLL_CALL_NAME).mkdir(exist_ok=True)
    guard.stop()
    assert (tmp_path / ROLL_CALL_NAME).exists() == remains
    for _ in range(2):
        guard.remove_reports(tmp_path)  # also where there are none
    assert not (tmp_path / ROLL_CALL_NAME).exists()


@pytest.mark.timeout(60)
def test_a_rank_that_cannot_ask_accuses_none(tmp_path: Path) -> None:
    alone, unwatched = Guard(), Guard()
    unwatched.register_ranks("job", 0, [Member.this_process()] * 2)
    alone.start()
    for guard in (alone, unwatched):
        guard.use_roll_call(tmp_path)
        assert guard.find_silent_ranks() == ([], "", True)
    alone.stop()
    assert not any(tmp_path.iterdir())
    assert (alone.knows_ranks, unwatched.knows_ranks) == (False, True)


def test_work_for_which_others_wait_is_relayed_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    guard, relayed = Guard(), []

    def relay() -> None:
        guard.heartbeat("waiting for the other ranks")  # as the collective does
        relayed.append(now)

    guard.set_timeout(100.0)
    with guard.relay_heartbeats(relay):
        for _ in range(100):
            now += 1.0
            guard.heartbeat("at work")
    now += 100.0
    guard.heartbeat("done")
    assert relayed == [26.0, 52.0, 78.0]


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_stacks_can_be_written_where_sys_stderr_is_no_file(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    guard = Guard()
    guard.start()
    guard.set_timeout(100.0)
    guard.stop()


def test_work_that_keeps_the_lock_of_python_has_a_limit() -> None:
    code = """
import ctypes
from shardtune.runtime.timelimit import time_limit
with time_limit(0.5, "It takes too long."):
    ctypes.PyDLL(None).sleep(600)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "shardtune: It takes too long.\n")
