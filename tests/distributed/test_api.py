"""A program that calls shardtune's functions, as the processes of a job."""

import json
import sys
from pathlib import Path

import numpy as np

import shardtune
from tests.distributed.training import outcome
from tests.launching import launch, run

BODY = ("-m", "tests.distributed.api_body")


def test_all_processes_share_the_work_and_have_the_same_results(small_images: Path, tmp_path: Path) -> None:
    said = launch([*BODY, "whole", str(small_images / "train"), str(tmp_path)], launcher="mpirun", ranks=2)
    assert "images" not in said  # nothing is printed that a command would
    first, second = ((tmp_path / f"rank-{rank}.json").read_text() for rank in (0, 1))
    assert first == second
    _, losses, steps, validations, loss, page = json.loads(first)
    assert (list(losses), steps, validations) == (["1", "2", "3", "4"], 4, [4])
    assert json.loads((tmp_path / "run" / "eval" / "eval.json").read_text())["loss"] == loss
    assert Path(page).is_file()
    ranks = [np.load(tmp_path / f"rank-{rank}.npz") for rank in (0, 1)]
    alone = shardtune.load_arrays(tmp_path / "data", batch_size=8, image_size=75, seed=1)
    for name in ("arr_0", "arr_1"):
        np.testing.assert_array_equal(np.concatenate([rank[name] for rank in ranks]), next(alone)[0])


def test_an_error_that_nothing_catches_ends_the_job(small_images: Path, tmp_path: Path) -> None:
    command = [sys.executable, *BODY, "raising", str(small_images / "train"), str(tmp_path)]
    done = run(command, launcher="mpirun", ranks=2, timeout=120)  # less than hang_timeout
    assert done.returncode == 1, done.stdout
    assert "ValueError: of a user's own\n" in done.stdout
    assert (outcome(tmp_path / "run")["outcome"], outcome(tmp_path / "run")["rank"]) == ("failed", 1)


def test_all_processes_raise_the_error_of_rank_0(small_images: Path, tmp_path: Path) -> None:
    said = launch([*BODY, "catching", str(small_images / "train"), str(tmp_path)], launcher="mpirun", ranks=2)
    assert said == ""
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert [name for name, _ in first] == [
        *("DataError", "NotADirectoryError", "DataError", "CheckpointError"),
        *("CheckpointError", "CheckpointError", "DataError", "CheckpointError"),
    ]
    assert all(str(tmp_path) in message for _, message in first)
