"""A supervisor in a process of its own, with real launchers, signals and exit statuses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGTERM, SIGUSR1

import psutil
import pytest

from shardtune.supervise.hosts import Host
from shardtune.supervise.machine import STOP_SIGNALS, LocalMachine
from tests.launching import ENVIRONMENT, finish, start
from tests.supervise.programs import install

SUPERVISE = (sys.executable, "-m", "shardtune", "supervise")
SECONDS = 60  # a hang ends there


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    return install(tmp_path / "bin")


@pytest.fixture
def environment(programs: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": f"{programs}{os.pathsep}{ENVIRONMENT['PATH']}",
        "SSH_LOG": str(tmp_path / "ssh.log"),
        "SCONTROL_LOG": str(tmp_path / "scontrol.log"),
    }


@pytest.fixture
def machine(environment: dict[str, str]) -> Iterator[LocalMachine]:
    """This machine with the small programs; the test's own signal handlers come back."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield LocalMachine({**ENVIRONMENT, **environment})
    for number, handler in handlers.items():
        signal.signal(number, handler)


def train(run: Path, *options: object, launcher: tuple[str, ...] = ()) -> list[str]:
    return [*map(str, (*SUPERVISE, "--workers", 2, *options, "--", *launcher, "shardtune", "train", "--train_dir", run))]


def wait_until(condition: Callable[[], bool], job: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if job.poll() is not None or time.monotonic() > deadline:
            job.kill()
            raise AssertionError(job.communicate()[0])
        time.sleep(0.02)


def outcome(run: Path) -> str:
    path = run / "outcome.json"
    return str(json.loads(path.read_text())["outcome"]) if path.exists() else ""


@pytest.mark.parametrize(
    ("story", "status", "printed"),
    [
        ("finishes", 0, []),
        ("is lost,finishes", 0, ["A worker was lost. The run in {run} resumes from its last checkpoint (restart 1 of 1)."]),
        ("fails", 1, ["The run in {run} has failed: Training diverged at step 7."]),
        ("refuses", 1, ["refused"]),  # by horovodrun's status
    ],
)
def test_a_run(
    environment: dict[str, str], programs: Path, tmp_path: Path, story: str, status: int, printed: list[str]
) -> None:
    run = tmp_path / "run"
    job = start(train(run, "--max_restarts", 1), environment={**environment, "TRAINER": story})
    done = finish(job, SECONDS)
    command = f"+ horovodrun -np 2 {programs}/shardtune train --train_dir {run}"
    sentences = [f"shardtune: {line.format(run=run)}" for line in printed]
    expected = [command, *sentences, command] if "," in story else [command, *sentences]
    assert (done.returncode, done.stdout.splitlines()) == (status, expected)


@pytest.mark.parametrize(("story", "status"), [("refuses", 2), ("dies early", 137)])
def test_the_status_of_a_command_that_never_began(environment: dict[str, str], tmp_path: Path, story: str, status: int) -> None:
    line = train(tmp_path / "run", launcher=("env",))
    assert finish(start(line, environment={**environment, "TRAINER": story}), SECONDS).returncode == status


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_stops_the_run_and_not_the_launcher(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    job = start(train(run), environment={**environment, "TRAINER": "runs"})
    wait_until(lambda: outcome(run) == "running", job)
    os.killpg(job.pid, number)  # as a terminal does it
    done = finish(job, SECONDS)
    assert (done.returncode, outcome(run)) == (75, "stopped"), done.stdout
    assert done.stdout.count("\n") == 1  # the command


def test_a_run_that_has_not_begun_is_ended(environment: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = start(train(run), environment={**environment, "TRAINER": "never begins"})
    wait_until((run / "pid").exists, job)
    job.terminate()
    assert finish(job, SECONDS).returncode == 75
    assert not psutil.pid_exists(int((run / "pid").read_text()))
    assert outcome(run) == ""


def test_a_job_of_slurm_whose_time_is_nearly_over(environment: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = train(run, "--max_requeues", 1, launcher=("srun",))
    job = start(line, environment={**environment, "TRAINER": "runs", "SLURM_JOB_ID": "17"})
    wait_until(lambda: outcome(run) == "running", job)
    job.send_signal(SIGUSR1)
    done = finish(job, SECONDS)
    assert (done.returncode, outcome(run)) == (0, "stopped"), done.stdout
    assert f"shardtune: The run in {run} was stopped. The job is requeued and resumes from the last checkpoint." in done.stdout
    assert (tmp_path / "scontrol.log").read_text() == "requeue 17"


def test_any_other_command_takes_the_place_of_the_supervisor(environment: dict[str, str]) -> None:
    command = ["grep", "-E", "^(Pid|SigIgn):", "/proc/self/status"]
    ignored = finish(start(command, environment=environment), SECONDS).stdout.splitlines()[1]
    job = start([*SUPERVISE, "--", *command], environment=environment)
    done = finish(job, SECONDS)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == [f"Pid:\t{job.pid}", ignored]  # the first line is the command


@pytest.mark.parametrize("words", [("eval",), ("train", "--train_dir", "run")])  # it becomes the launcher, or starts it
@pytest.mark.parametrize(("own", "expected"), [({}, "300"), ({"HOROVOD_START_TIMEOUT": "7"}, "7")])
def test_a_launcher_has_as_long_to_start_as_a_person_says_or_else_minutes(
    environment: dict[str, str], programs: Path, words: tuple[str, ...], own: dict[str, str], expected: str
) -> None:
    (programs / "horovodrun").write_text("#!/bin/sh\necho timeout $HOROVOD_START_TIMEOUT\n")
    done = finish(start([*SUPERVISE, "--", "shardtune", *words], environment={**environment, **own}), SECONDS)
    assert f"\ntimeout {expected}\n" in done.stdout


def test_a_launcher_that_is_not_there(environment: dict[str, str], tmp_path: Path) -> None:
    for words in (["nowhere", "shardtune", "eval"], ["nowhere", "shardtune", "train", "--train_dir", str(tmp_path)]):
        done = finish(start([*SUPERVISE, "--", *words], environment=environment), SECONDS)
        assert done.returncode == 1
        assert done.stdout.endswith(
            "shardtune: The program nowhere is not on the PATH. Run launch/setup.sh and source .venv/bin/activate.\n"
        )


def test_words_after_the_dashes_are_the_commands_own(environment: dict[str, str], programs: Path) -> None:
    words = ["shardtune", "build", "--debug", "--dry_run", "--train-directory", "a b", "--", "-x"]
    done = finish(start([*SUPERVISE, "--dry_run", "--workers", "3", "--", *words], environment=environment), SECONDS)
    mpirun = Path(sys.executable).with_name("mpirun")
    assert done.stdout == f"{mpirun} -n 3 {programs}/shardtune build --debug --dry_run --train-directory 'a b' -- -x\n"
    assert done.returncode == 0


def test_a_signal_while_hosts_are_asked(environment: dict[str, str], tmp_path: Path) -> None:
    job = start([*SUPERVISE, "--hosts", "b:1,c:1", "--", "shardtune", "eval"], environment=environment)
    wait_until(lambda: (tmp_path / "ssh.log").exists() and "c true" in (tmp_path / "ssh.log").read_text(), job)
    job.send_signal(SIGINT)
    done = finish(job, SECONDS)
    assert (done.returncode, done.stdout.count("\n")) == (130, 1)
    assert done.stdout.startswith("shardtune: Stopped by signal 2 while no process of the job was running.")


@pytest.mark.parametrize(("host", "expected"), [("localhost", True), ("nowhere", False), ("x" * 70, False)])
def test_a_host_is_this_machine_if_its_address_is(machine: LocalMachine, host: str, expected: bool) -> None:
    assert machine.is_local(host) == expected


def test_hosts_that_answer(machine: LocalMachine) -> None:
    hosts = (Host("localhost", 1), Host("nowhere", 2), Host("b", 3))
    assert machine.keep_reachable(hosts) == (hosts[0], hosts[2])


def test_a_rank_on_another_host_is_stopped_over_ssh(machine: LocalMachine, tmp_path: Path) -> None:
    machine.stop_rank("b", 4711)
    assert (tmp_path / "ssh.log").read_text() == "-n -o BatchMode=yes -o ConnectTimeout=10 b kill -USR1 4711\n"


def test_signals_are_taken_once(machine: LocalMachine) -> None:
    signal.raise_signal(SIGTERM)
    signal.raise_signal(SIGINT)
    assert machine.take_signals() == [SIGTERM, SIGINT]
    assert machine.take_signals() == []


def test_cores_are_those_that_this_process_may_use(machine: LocalMachine) -> None:
    assert 1 <= machine.count_cores() <= len(os.sched_getaffinity(0))


def test_nothing_heavy_is_imported() -> None:
    code = """
import sys
import shardtune.cli, shardtune.supervise.command
print(sorted({"tensorflow", "keras", "horovod", "mpi4py"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
