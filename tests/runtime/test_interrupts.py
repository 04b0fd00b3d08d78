"""A process that gets a signal ends by itself, also while it hangs, unless it listens to the signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shardtune.runtime.interrupts import REACTION_SECONDS, Interrupts
from tests.launching import ENVIRONMENT
from tests.runtime.guarded import start

STOP = """
guard.interrupts.catch()
{listening}
threading.Timer(1, print, ["ready"], dict(flush=True)).start()  # when the main thread waits
{waiting}
"""


@pytest.mark.parametrize(
    ("number", "waiting", "position"),
    [
        (signal.SIGTERM, "blocked()", "starting"),
        (signal.SIGINT, "with guard.time_limit('late'): blocked()", "finding the other ranks"),
    ],
)
def test_a_signal_ends_what_is_blocked(tmp_path: Path, number: signal.Signals, waiting: str, position: str) -> None:
    with start(tmp_path, STOP.format(listening="", waiting=waiting)) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == (
            f"shardtune: A signal has stopped this process, which was {position}. What is saved is kept.\n"
        )
    assert process.returncode == 75


@pytest.mark.parametrize("stderr", ["", "sys.stderr = None", "sys.stderr.close()"])
def test_a_signal_ends_what_is_blocked_although_nobody_can_read_that(tmp_path: Path, stderr: str) -> None:
    with start(tmp_path, STOP.format(listening=stderr, waiting="blocked()")) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "ready\n"
        process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 75


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
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == "SIGUSR1\n"
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


def test_signals_then_do_what_they_did_before() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    files = sorted(Path("/proc/self/fd").iterdir())
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    former = signal.set_wakeup_fd(writer)
    interrupts = Interrupts()
    interrupts.listen(print)  # nothing is caught yet
    assert [signal.getsignal(number) for number in numbers] == before
    interrupts.catch()
    interrupts.listen(print)
    assert signal.getsignal(signal.SIGUSR1) != before[2]
    interrupts.restore()
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(former) == writer
    os.close(reader)
    os.close(writer)
    assert sorted(Path("/proc/self/fd").iterdir()) == files


def test_a_main_thread_has_time_to_react(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    interrupts = Interrupts()
    interrupts.catch()
    pipe = signal.set_wakeup_fd(-1)
    os.write(pipe, bytes([signal.SIGTERM]))  # as Python does in the signal, however long it cannot call the handler
    assert not interrupts.must_exit()
    now += REACTION_SECONDS - 0.1
    assert not interrupts.must_exit()
    now += 0.2
    assert interrupts.must_exit()
    signal.set_wakeup_fd(pipe)
    interrupts.restore()
