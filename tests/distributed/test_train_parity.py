"""n workers compute what one computes, and a run may resume with another number of them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from shardtune.model import checkpoint_file
from tests.distributed.training import GLOBAL_BATCH, digest, final, metrics, train

STEPS = 24
FLAGS = ("--batch_norm", "synced", "--save_every", 12)


@pytest.fixture(scope="module")
def alone(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one worker, with a checkpoint half way."""
    run = tmp_path_factory.mktemp("alone")
    train(small_data, run, *FLAGS, over="alone", ranks=1)
    assert [step for step, _ in checkpoint_file.list_checkpoints(run)] == [12, STEPS]
    return run


def require_close(run: Path, other: Path) -> None:
    local, expected = final(run), final(other)
    assert local.keys() == expected.keys()
    for name in local:
        # A variance is the square of what weights of 0.1 make of a thousand pixels: 1e-6 in a weight is 1e-5 of it.
        relative = 1e-5 if "moving_variance" in name else 0
        assert np.allclose(local[name], expected[name], rtol=relative, atol=1e-5), name
    first, second = metrics(run, "loss"), metrics(other, "loss")
    assert list(first) == list(second) == list(range(1, STEPS + 1))
    assert list(first.values()) == pytest.approx(list(second.values()), abs=1e-5)
    assert metrics(run, "learning_rate") == metrics(other, "learning_rate")


WORLDS = [
    *(pytest.param(over, ranks, id=f"{over}-{ranks}") for over, ranks in (("mpi", 2), ("gloo", 3))),
    *(
        pytest.param(over, ranks, id=f"{over}-{ranks}", marks=pytest.mark.exhaustive)
        for over, ranks in (("gloo", 2), ("mpi", 3), ("mpi", 4), ("gloo", 4))
    ),
]


@pytest.mark.parametrize(("over", "ranks"), WORLDS)
def test_workers_compute_what_one_computes(small_data: Path, alone: Path, tmp_path: Path, over: str, ranks: int) -> None:
    train(small_data, tmp_path, *FLAGS, over=over, ranks=ranks)
    require_close(tmp_path, alone)
    started, found = final(alone), final(tmp_path)
    assert any(np.any(started[name] != found[name]) for name in found)  # else they would not have added anything up


@pytest.mark.exhaustive
def test_a_run_of_one_worker_resumes_with_two(small_data: Path, alone: Path, tmp_path: Path) -> None:
    run = shutil.copytree(alone, tmp_path / "run")
    checkpoint_file.checkpoint_path(run, STEPS).unlink()
    assert "Resuming after step 12" in train(small_data, run, *FLAGS, over="mpi", ranks=2)
    require_close(run, alone)


def test_a_run_of_two_workers_resumes_with_one_in_micro_batches(small_data: Path, alone: Path, tmp_path: Path) -> None:
    # Batch normalisation over pieces would be another one.
    flags = ("--batch_norm", "synced", "--freeze_until", "norm", "--save_every", 12)
    train(small_data, tmp_path / "two", *flags, "--batch_size", 6, "--lr_scaling", "linear", over="mpi", ranks=2)
    run = shutil.copytree(tmp_path / "two", tmp_path / "run")
    checkpoint_file.checkpoint_path(run, STEPS).unlink()
    output = train(small_data, run, *flags, "--batch_size", 5, "--lr_scaling", "linear", over="alone", ranks=1)
    assert f"{STEPS} steps of {GLOBAL_BATCH}" in output
    assert "learning rate 0.05 to 0.1 in" in output
    require_close(run, tmp_path / "two")
    assert json.loads((run / "config.json").read_text())["workers"] == 2


def test_one_worker_needs_no_horovod(small_data: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, "--deterministic", "--max_steps", 6)
    train(small_data, tmp_path / "launched", *flags, over="gloo", ranks=1)
    (tmp_path / "shadow" / "horovod").mkdir(parents=True)
    (tmp_path / "shadow" / "horovod" / "__init__.py").write_text("raise ImportError('not installed')\n")
    (tmp_path / "shadow" / "mpi4py.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join([str(tmp_path / "shadow"), os.environ.get("PYTHONPATH", "")])
    train(small_data, tmp_path / "alone", *flags, over="alone", ranks=1, environment={"PYTHONPATH": path})
    assert digest(tmp_path / "alone") == digest(tmp_path / "launched")
