"""What `shardtune train` does before it builds a network."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shardtune.dataset.index import open_data_set
from shardtune.errors import UsageError
from shardtune.model import checkpoint_file
from shardtune.runtime.outcome import read_outcome
from shardtune.runtime.world import World
from shardtune.train.command import build_and_train
from shardtune.train.config import TrainConfig
from shardtune.train.progress import RunProgress, Validation
from shardtune.train.run_config import open_run
from shardtune.train.run_context import RunContext
from shardtune.train.stopping import OutcomeFile, StopRequest

STEPS = 6


class NetworkIsBuiltError(Exception):
    """Ends a test where a network would be built."""


def start(config: TrainConfig) -> None:
    """Start the run, up to the point where a network is built."""

    def build(*_: object) -> Any:
        raise NetworkIsBuiltError

    world = World()
    context = RunContext.open(config, world, StopRequest(None), threads=1)
    build_and_train(context, build, *open_data_set(config.data_dir, world))


@pytest.fixture
def config(small_data: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(small_data, tmp_path, max_steps=STEPS, validate_every=2, patience=2)


def leave_run(config: TrainConfig, progress: RunProgress, outcome: str) -> None:
    """A run directory as a run of so much progress leaves it."""
    manifest, _ = open_data_set(config.data_dir, World())
    open_run(config, manifest, 1)
    checkpoint_file.save(config.train_dir, progress.step, {}, progress.to_metadata())
    OutcomeFile(config.train_dir, 0, attempt=1).mark_ended(outcome, step=progress.step)  # type: ignore[arg-type]


BEST_AT_2 = (Validation(2, 0.75), Validation(4, 0.5), Validation(6, 0.5))
FINISHED = [RunProgress(STEPS, (Validation(6, 0.5),)), RunProgress(STEPS, BEST_AT_2)]


@pytest.mark.parametrize("progress", FINISHED)
def test_a_finished_run_says_so_without_a_network(
    config: TrainConfig, progress: RunProgress, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_run(config, progress, "finished")
    before = {path: path.read_bytes() for path in config.train_dir.rglob("*") if path.is_file()}
    start(config)
    assert capsys.readouterr().out.splitlines()[-1] == f"This run has finished: all {STEPS} steps are in {config.train_dir}."
    assert read_outcome(config.train_dir) == {"outcome": "finished", "attempt": 1, "step": STEPS}
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_run_that_ended_early_has_finished_too(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(config, max_steps=100)
    leave_run(config, RunProgress(STEPS, BEST_AT_2), "finished")
    start(config)
    assert "This run has finished: all 6 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("progress", "outcome"),
    [
        (FINISHED[0], "stopped"),  # its outcome is not written yet
        (RunProgress(4, BEST_AT_2[:2]), "finished"),
        (RunProgress(STEPS, BEST_AT_2[:1]), "finished"),  # its last validation is missing
    ],
)
def test_a_run_that_has_something_to_do_builds_its_network(config: TrainConfig, progress: RunProgress, outcome: str) -> None:
    leave_run(config, progress, outcome)
    with pytest.raises(NetworkIsBuiltError):
        start(config)


def test_a_new_run_builds_its_network(config: TrainConfig) -> None:
    with pytest.raises(NetworkIsBuiltError):
        start(config)
    assert json.loads((config.train_dir / "config.json").read_text())["config"]["max_steps"] == STEPS


def test_a_finished_run_with_other_flags_is_refused_first(config: TrainConfig) -> None:
    leave_run(config, FINISHED[0], "finished")
    with pytest.raises(UsageError, match="seed was 0, is 1"):
        start(replace(config, seed=1))


def test_a_finished_run_with_more_steps_resumes(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    leave_run(config, FINISHED[0], "finished")
    with pytest.raises(NetworkIsBuiltError):
        start(replace(config, max_steps=2 * STEPS, allow_config_change=True))
    assert "Resuming after step 6 from" in capsys.readouterr().out
