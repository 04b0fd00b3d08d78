"""A process that hangs, or that gets a signal while it hangs, ends by itself."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shardtune.runtime.guard import ROLL_CALL_NAME, Guard
from shardtune.runtime.rollcall import Member
from tests.launching import ENVIRONMENT

START = """
import ctypes, sys, threading, time
from pathlib import Path
from shardtune.runtime.guard import Guard
guard = Guard()
guard.report_to(Path(sys.argv[1]), lambda sentence, ranks: print(sentence, flush=True))
guard.start()
def blocked():  # in C code, which no signal interrupts
    library, mutex = ctypes.{loader}(None), ctypes.create_string_buffer(64)
    while True:
        library.pthread_mutex_lock(mutex)
"""
HANG = """
guard.set_timeout(0.5)
guard.heartbeat("at work", step=41)
blocked()
"""
STOP = """
guard.interrupts.catch()
{listening}
threading.Timer(1, print, ["ready"], dict(flush=True)).start()  # when the main thread waits
{waiting}
"""
FREE, LOCKED = "CDLL", "PyDLL"  # without and with Python's lock


def start(tmp_path: Path, code: str, loader: str = FREE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START.format(loader=loader) + code, str(tmp_path / "log")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("loader", [FREE, LOCKED])
def test_a_hang_ends_with_stacks(tmp_path: Path, loader: str) -> None:
    hung = start(tmp_path, HANG, loader)
    stdout, stderr = hung.communicate(timeout=60)
    assert hung.returncode == 1, stderr
    assert stdout == ("No progress for 0.5 s: this process is at work\n" if loader == FREE else "")
    assert "in blocked" in (tmp_path / "log").read_text()


@pytest.mark.timeout(60)
def test_a_guard_that_is_stopped_does_not_wait_for_its_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardtune.runtime.guard.POLL_SECONDS", 1e6)
    guard = Guard()
    before = sorted(Path("/proc/self/fd").iterdir())
    guard.start()
    guard.stop()
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


@pytest.mark.timeout(60)
def test_a_rank_that_cannot_ask_accuses_none() -> None:
    alone, unwatched = Guard(), Guard()
    unwatched.register_ranks("job", 0, [Member.this_process()] * 2)
    alone.start()
    for guard in (alone, unwatched):
        assert guard.find_silent_ranks() == ([], "", True)
    alone.stop()


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_is_blocked(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path, STOP.format(listening="", waiting="blocked()")) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == (
            "shardtune: A signal has stopped this process, which was starting. What is saved is kept.\n"
        )
    assert process.returncode == 75


@pytest.mark.parametrize(
    ("waiting", "number"), [("blocked()", signal.SIGTERM), ("while True: time.sleep(0.01)", signal.SIGINT)]
)
def test_the_second_signal_ends_a_process_that_listens_to_the_first(
    tmp_path: Path, waiting: str, number: signal.Signals
) -> None:
    listening = "guard.interrupts.listen(lambda number: print(number.name, flush=True))"
    with start(tmp_path, STOP.format(listening=listening, waiting=waiting)) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for wait in (0.0, 2.5):  # seconds: a second request, not the same one twice
            time.sleep(wait)
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "A signal has stopped this process" in stderr
    assert not stdout or stdout.startswith(number.name)


def test_a_signal_that_comes_twice_within_a_second_is_one_request(tmp_path: Path) -> None:
    listening = "guard.interrupts.listen(lambda number: print(number.name, flush=True))"
    with start(tmp_path, STOP.format(listening=listening, waiting="time.sleep(5)")) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "SIGTERM\n"
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_ignored_signals_do_nothing(tmp_path: Path) -> None:
    with start(tmp_path, STOP.format(listening="guard.interrupts.ignore()", waiting="time.sleep(3)")) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_first_signal_interrupts_once(tmp_path: Path) -> None:
    waiting = """
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(1)
    print("cleaned", flush=True)
"""
    with start(tmp_path, STOP.format(listening="", waiting=waiting)) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "interrupted\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "cleaned\n"


def test_before_ranks_have_found_each_other_a_signal_ends_a_command(tmp_path: Path) -> None:
    # This call keeps Python's lock, as MPI_Init does.
    code = """
import ctypes
from shardtune import cli
def stage(config):
    print("ready", flush=True)
    ctypes.PyDLL(None).sleep(600)
cli.run_command(lambda: None, stage)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(timeout=60) == -signal.SIGTERM
