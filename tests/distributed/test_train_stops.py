"""A run that is asked to stop stops on all ranks at once, saved; one that hangs or loses a rank ends and says which."""

import json
import re
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest

from shardtune.model import checkpoint_file
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.world import World
from tests import launching
from tests.distributed.training import (
    AHEAD,
    DRIFTING,
    LATE_WORDS,
    LAUNCHERS,
    Disturbed,
    command,
    digest,
    metrics,
    outcome,
    train,
)

LONG = ("--max_steps", 100_000, "--learning_rate_decay", "constant", "--save_every", 100_000)
HOST = re.escape(socket.gethostname())


@pytest.mark.parametrize(
    ("over", "number", "rank", "ahead"),
    [("mpi", signal.SIGUSR1, 1, 0), ("gloo", signal.SIGTERM, 1, 0), ("mpi", signal.SIGINT, 0, 1)],
)
def test_one_rank_that_is_asked_to_stop_stops_all(
    small_data: Path, tmp_path: Path, over: str, number: signal.Signals, rank: int, ahead: int
) -> None:
    with Disturbed(small_data, tmp_path, *LONG, over=over, environment={AHEAD: str(ahead), LATE_WORDS: "1"}) as job:
        assert job.wait_for_steps(5)
        job.rank(rank).send_signal(number)
        status, output = job.end(timeout=60)
    left = outcome(tmp_path)
    assert left.pop("step") == max(metrics(tmp_path, "loss"))
    assert left == {"outcome": "stopped", "attempt": 1, "reason": f"signal {number.name} on rank {rank}", "corrupt_records": 0}
    assert [step for step, _ in checkpoint_file.list_checkpoints(tmp_path)] == [outcome(tmp_path)["step"]]
    assert output.count("shardtune: Stopped after step ") == 1
    if over == "gloo":  # it makes a status of its own, and may tell only of the first rank that left
        assert set(re.findall(r"^Process \d exit with status code (\d+)\.$", output, re.MULTILINE)) == {"75"}
    else:
        assert status == 75
    assert [path.read_text().count("Traceback") for path in (tmp_path / "logs").glob("rank-*.log")] == [0, 0]


def test_a_run_that_was_stopped_ends_like_one_that_was_not(small_data: Path, tmp_path: Path) -> None:
    flags = ("--deterministic", "--max_steps", 20, "--batch_norm", "per_worker", "--validate_every", 1)
    train(small_data, tmp_path / "undisturbed", *flags, over="mpi", ranks=2)
    line = command(small_data, tmp_path / "run", *flags, "--time_limit", "1s", ranks=2)  # over before it has compiled
    # As where there are GPUs: what a step measured is known after the next one has started.
    stopped = launching.run(line, launcher="mpirun", ranks=2, timeout=60, environment={AHEAD: "1"})
    assert stopped.returncode == 75, stopped.stdout
    step = outcome(tmp_path / "run")["step"]
    assert 1 <= step < 20
    assert step not in metrics(tmp_path / "run", "validation_precision_at_1")  # what was done is saved first
    assert "the time limit of 1s on rank 0" in outcome(tmp_path / "run")["reason"]
    train(small_data, tmp_path / "run", *flags, over="mpi", ranks=2, environment={AHEAD: "1"})
    assert outcome(tmp_path / "run")["attempt"] == 2
    assert digest(tmp_path / "run") == digest(tmp_path / "undisturbed")
    validated = [metrics(tmp_path / name, "validation_precision_at_1") for name in ("run", "undisturbed")]
    assert len(validated[0]) == 20
    assert validated[0] == validated[1]
    best = [json.loads((tmp_path / name / "checkpoints" / "best.json").read_text()) for name in ("run", "undisturbed")]
    assert best[0] == best[1]


@pytest.mark.parametrize("over", ["mpi", pytest.param("gloo", marks=pytest.mark.exhaustive)])
def test_a_silent_rank_ends_the_job_and_is_named(small_data: Path, tmp_path: Path, over: str) -> None:
    with Disturbed(small_data, tmp_path, *LONG, "--hang_timeout", 5, over=over) as job:
        assert job.wait_for_steps(5)
        job.rank(1).send_signal(signal.SIGSTOP)
        status, output = job.end(timeout=120)
    assert status != 0
    assert re.search(rf"shardtune: No progress for 5 s: rank 1 of 2 on {HOST} does not answer;", output)
    assert "step_runner.py" in (tmp_path / "logs" / "rank-0.log").read_text()
    assert outcome(tmp_path)["outcome"] == "failed"
    assert f"rank 1 of 2 on {socket.gethostname()}" in outcome(tmp_path)["error"]


@pytest.mark.parametrize("over", ["mpi", "gloo"])
def test_a_dead_rank_ends_the_job_and_is_named(small_data: Path, tmp_path: Path, over: str) -> None:
    with Disturbed(small_data, tmp_path, *LONG, over=over) as job:
        assert job.wait_for_steps(5)
        job.rank(1).send_signal(signal.SIGKILL)
        status, output = job.end(timeout=30)
    assert status != 0
    # mpirun ends the others before they can say anything, and names the rank itself.
    named = {
        "mpi": rf"process rank 1 with PID \d+ on node {HOST}",
        "gloo": rf"A worker is lost: rank 1 of 2 on {HOST} does not",
    }
    assert re.search(named[over], output), output
    assert outcome(tmp_path)["outcome"] == {"mpi": "running", "gloo": "failed"}[over]


def test_an_operation_that_fails_while_all_ranks_live_is_reported_and_no_worker_is_called_lost(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "tests.distributed.operation_body", "mismatched", str(tmp_path)]
    done = launching.run(line, launcher="mpirun", ranks=2, timeout=120)
    assert done.returncode == 1
    [complaint] = re.findall(r"^shardtune: (.*)", done.stdout, re.MULTILINE)
    assert re.match(r"An operation over all workers failed \(.*Mismatched ALLREDUCE tensor shapes", complaint)
    assert outcome(tmp_path) == {"outcome": "failed", "attempt": 1, "error": complaint, "rank": 0}  # with a rank: no restart


def test_a_rank_that_dies_in_the_middle_of_a_transfer_is_named(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "tests.distributed.operation_body", "broken", str(tmp_path)]
    done = launching.run(line, launcher="gloo", ranks=2, timeout=120)
    assert re.search(rf"shardtune: A worker is lost: rank 1 of 2 on {HOST} does not answer", done.stdout), done.stdout
    left = outcome(tmp_path)
    assert left["outcome"] == "failed"
    assert "rank" not in left  # so `supervise` starts it again


def test_a_rank_that_is_blocked_in_c_code_ends_when_another_one_is_dead(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "tests.distributed.operation_body", "blocked", str(tmp_path)]
    done = launching.run(line, launcher="gloo", ranks=2, timeout=120)
    complaint = f"No progress for 1.5 s: rank 1 of 2 on {socket.gethostname()} does not answer"
    assert f"shardtune: {complaint}" in done.stdout
    assert "Process 0 exit with status code 1." in done.stdout
    assert "in blocked" in (tmp_path / "logs" / "rank-0.log").read_text()
    left = outcome(tmp_path)
    assert (left["outcome"], left["error"].startswith(complaint), "rank" in left) == ("failed", True, False)


SAVED = ("--learning_rate_decay", "constant", "--warmup_epochs", 0, "--save_every", 1)


@pytest.fixture(scope="module")
def good(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    run = tmp_path_factory.mktemp("good")
    train(small_data, run, *SAVED, "--max_steps", 2, over="alone", ranks=1)
    return run


@pytest.mark.parametrize("ahead", [0, 1])
def test_divergence_ends_the_run_and_keeps_the_last_good_checkpoint(
    small_data: Path, good: Path, tmp_path: Path, ahead: int
) -> None:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    line = command(
        small_data, tmp_path, *SAVED, "--max_steps", 50, "--initial_learning_rate", 1e20, "--allow_config_change", ranks=2
    )
    done = launching.run(line, launcher="mpirun", ranks=2, timeout=60, environment={AHEAD: str(ahead)})
    assert done.returncode == 1
    [complaint] = [text for text in done.stdout.splitlines() if text.startswith("shardtune: ")]
    assert re.match(
        r"shardtune: Training diverged at step \d+: the loss is \S+ \(limit 1000\) and the gradient norm \S+\. ", complaint
    )
    assert outcome(tmp_path)["outcome"] == "failed"
    newest = checkpoint_file.latest(tmp_path)
    assert newest
    assert all((abs(tensor) < 1e30).all() for tensor in checkpoint_file.load(newest[1]).values())


@pytest.mark.parametrize("over", ["mpi", pytest.param("gloo", marks=pytest.mark.exhaustive)])
def test_weights_that_drift_apart_end_the_job_and_are_named(small_data: Path, tmp_path: Path, over: str) -> None:
    line = command(small_data, tmp_path, *LONG, ranks=2)
    done = launching.run(line, launcher=LAUNCHERS[over], ranks=2, timeout=60, environment={DRIFTING: "1"})
    assert done.returncode != 0
    [complaint] = re.findall(r"shardtune: (The weights differ.*)", done.stdout)
    assert re.match(
        rf"The weights differ between rank 0 and rank 1 of 2 on {HOST}: 1 variable\(s\), first below/weights\. ",
        complaint,
    )
    assert {"outcome": "failed", "rank": 0}.items() <= outcome(tmp_path).items()
    assert max(metrics(tmp_path, "loss")) == 99  # they are compared every 100 steps


def test_ranks_with_other_flags_are_refused(small_data: Path, tmp_path: Path) -> None:
    lines = [command(small_data, tmp_path, "--seed", seed) for seed in (1, 2)]
    done = launching.run(["mpirun", "-n", "1", *lines[0], ":", "-n", "1", *lines[1]], launcher="alone", ranks=1, timeout=60)
    assert done.returncode == 2
    [complaint] = [text for text in done.stdout.splitlines() if text.startswith("shardtune: ")]
    assert re.match(
        rf"shardtune: The ranks have different flags: seed is 1 on rank 0 and 2 on rank 1 of 2 on {HOST}\. ", complaint
    )


def test_two_jobs_do_not_train_in_one_directory(small_data: Path, tmp_path: Path) -> None:
    with exclusive_directory(tmp_path, World()):
        done = launching.run(command(small_data, tmp_path), launcher="alone", ranks=1, timeout=60)
    assert done.returncode == 1
    assert f"shardtune: The directory {tmp_path} is in use by process " in done.stdout
    assert not (tmp_path / "outcome.json").exists()
