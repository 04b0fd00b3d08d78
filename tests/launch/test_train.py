"""launch/train.sh: a run that is stopped is saved, one that loses a worker goes on, and nothing is left behind."""

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.distributed.training import outcome
from tests.launch.jobs import killed_in_the_end, ranks, train_sh, wait_for_steps
from tests.launching import finish, start

TWO = {"WORKERS": "2"}
LONG = ("--max_steps", 100_000, "--learning_rate_decay", "constant", "--save_every", 100)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)])
def test_a_run_that_is_stopped_is_saved(scripts: Path, small_data: Path, tmp_path: Path, number: signal.Signals) -> None:
    with killed_in_the_end(start(train_sh(scripts, small_data, tmp_path, *LONG), environment=TWO), tmp_path) as job:
        wait_for_steps(job, tmp_path, 5)
        os.killpg(job.pid, number)  # as a terminal does it
        done = finish(job, 60)
        assert done.returncode == 75, done.stdout
        assert not ranks(tmp_path)
    assert outcome(tmp_path)["outcome"] == "stopped"
    assert (tmp_path / "checkpoints" / f"step-{outcome(tmp_path)['step']:08d}.safetensors").exists()
    assert "(restart " not in done.stdout


def test_a_run_that_is_stopped_before_it_begins_leaves_nothing(scripts: Path, small_data: Path, tmp_path: Path) -> None:
    with killed_in_the_end(
        start(train_sh(scripts, small_data, tmp_path / "run", *LONG), environment=TWO), tmp_path / "run"
    ) as job:
        while not ranks(tmp_path / "run"):
            time.sleep(0.02)
        job.terminate()
        assert finish(job, 60).returncode == 75
        assert not ranks(tmp_path / "run")
    assert not (tmp_path / "run" / "outcome.json").exists()


def test_a_run_that_loses_a_worker_goes_on(scripts: Path, small_data: Path, tmp_path: Path) -> None:
    flags, run = ("--max_steps", 400, "--save_every", 50), tmp_path / "run"
    with killed_in_the_end(
        start(train_sh(scripts, small_data, run, *flags, options=("--max_restarts", 1)), environment=TWO), run
    ) as job:
        wait_for_steps(job, run, 60)
        ranks(run)[-1].kill()
        done = finish(job, 120)
    assert done.returncode == 0, done.stdout
    assert f"shardtune: A worker was lost. The run in {run} resumes from its last checkpoint (restart 1 of 1)." in done.stdout
    assert "Resuming after step" in done.stdout
    assert (outcome(run)["outcome"], outcome(run)["attempt"]) == ("finished", 2)

    refused = finish(start(train_sh(scripts, small_data, run, *flags, "--seed", 7), environment=TWO), 60)
    assert refused.returncode == 2
    assert (
        "holds a run with another configuration (seed was 0, is 7, and may change with --allow_config_change)" in refused.stdout
    )
    assert "(restart " not in refused.stdout
    assert (outcome(run)["outcome"], outcome(run)["attempt"]) == ("finished", 2)


@pytest.mark.exhaustive
def test_restarts_come_to_an_end(scripts: Path, small_data: Path, tmp_path: Path) -> None:
    with killed_in_the_end(
        start(train_sh(scripts, small_data, tmp_path, *LONG, options=("--max_restarts", 0)), environment=TWO), tmp_path
    ) as job:
        wait_for_steps(job, tmp_path, 5)
        ranks(tmp_path)[0].kill()
        done = finish(job, 60)
    assert done.returncode == 1
    assert re.search(
        r"^shardtune: The run in .* was lost after 0 restarts, as many as --max_restarts allows\. .* to resume\.$",
        done.stdout,
        re.MULTILINE,
    )


@pytest.mark.exhaustive
def test_an_error_that_would_come_again_is_told_and_not_tried_again(scripts: Path, small_data: Path, tmp_path: Path) -> None:
    flags = ("--initial_learning_rate", 1e20, "--warmup_epochs", 0)
    done = finish(start(train_sh(scripts, small_data, tmp_path, *flags), environment=TWO), 60)
    assert done.returncode == 1
    assert f"shardtune: The run in {tmp_path} has failed: Training diverged at step" in done.stdout
    assert outcome(tmp_path)["attempt"] == 1


@pytest.mark.exhaustive
def test_a_launcher_that_does_not_end_is_ended(scripts: Path, small_data: Path, tmp_path: Path) -> None:
    flags = ("--max_steps", 2000, "--save_every", 100, "--hang_timeout", 5)
    with killed_in_the_end(start(train_sh(scripts, small_data, tmp_path, *flags), environment=TWO), tmp_path) as job:
        wait_for_steps(job, tmp_path, 150)
        children = psutil.Process(job.pid).children(recursive=True)
        [launcher] = [child for child in children if child.cmdline()[:1] == ["mpirun"]]
        launcher.suspend()
        ranks(tmp_path)[-1].kill()
        done = finish(job, 200)
    assert done.returncode == 0, done.stdout
    assert "(restart 1 of 3)" in done.stdout
    assert (outcome(tmp_path)["outcome"], outcome(tmp_path)["attempt"]) == ("finished", 2)
