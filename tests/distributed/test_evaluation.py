"""Evaluations on real processes: the same bits for any number, and no half file after a kill."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.evaluate.predictions import PREDICTIONS_NAME, read_predictions
from shardtune.evaluate.result import RESULT_NAME, read_result
from shardtune.runtime.world import World
from tests.distributed.training import train
from tests.faults.injector import Injector, calls
from tests.launching import launch, run
from tests.pictures import plant
from tests.records import fields, records

SIZES = (1, 7, 13, 150)
BATCH = 10  # of 7 batches, three ranks have two or three each
CLASSES = ("a", "b,c", 'd"e', "=f", "g", "h", "ï")
# Of calls that change files below --eval_dir, 18 in an evaluation. Before number 5 the new predictions.csv is empty, before 15
# eval.json, and before 17 it has no name.
MOMENTS = [pytest.param(number, marks=[pytest.mark.exhaustive] * (number not in (5, 15, 17))) for number in range(1, 21)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small network of eight classes, and its data set beside it: 154 validation images."""
    directory = tmp_path_factory.mktemp("trained")
    plant(directory / "images" / "train", per_class=4, seed=1, classes=CLASSES)
    plant(directory / "images" / "validation", per_class=22, seed=2, classes=CLASSES)
    folders = (directory / "images" / split for split in ("train", "validation"))
    build(
        BuildConfig(
            next(folders),
            output_directory=directory / "data",
            validation_directory=next(folders),
            train_shards=2,
            validation_shards=3,
        ),
        World(),
    )
    train(directory / "data", directory / "run", "--max_steps", 12, over="alone", ranks=1)
    return directory / "run"


def command(trained: Path, output: Path, *sizes: int) -> list[str]:
    """An evaluation of the first examples into folders of `output`, whose data set is found by itself."""
    flags = ("--checkpoint_dir", trained, "--eval_dir", output, "--batch_size", BATCH)
    return ["-m", "tests.distributed.eval_body", ",".join(map(str, sizes)), *map(str, flags)]


@pytest.fixture(scope="module")
def evaluated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of evaluations of `SIZES`, by the number of ranks that have made them."""
    return {ranks: evaluate(trained, tmp_path_factory.mktemp("evaluated"), *SIZES, ranks=ranks) for ranks in (1, 3)}


def evaluate(trained: Path, folder: Path, *sizes: int, ranks: int) -> Path:
    launch(command(trained, folder, *sizes), launcher="mpirun" if ranks > 1 else "alone", ranks=ranks)
    return folder


def result(folder: Path) -> dict[str, Any]:
    """What every evaluation of the same examples shares."""
    return {**json.loads((folder / RESULT_NAME).read_text()), "images_per_second": 0}


def test_the_results_of_each_split_have_their_own_files(trained: Path, evaluated: dict[int, Path], tmp_path: Path) -> None:
    size = SIZES[-1]
    shutil.copytree(evaluated[1] / str(size), tmp_path / str(size))
    launch([*command(trained, tmp_path, size), "--subset", "train"])
    assert result(tmp_path / str(size)) == result(evaluated[1] / str(size))
    assert result(tmp_path / str(size) / "train")["subset"] == "train"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ranks", [3, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_any_number_of_ranks_leaves_the_same_files(
    evaluated: dict[int, Path], trained: Path, tmp_path: Path, ranks: int, size: int
) -> None:
    folder = evaluated[ranks] if ranks in evaluated else evaluate(trained, tmp_path, size, ranks=ranks)
    alone, together = evaluated[1] / str(size), folder / str(size)
    assert (together / PREDICTIONS_NAME).read_bytes() == (alone / PREDICTIONS_NAME).read_bytes()
    assert result(together) == result(alone)


@pytest.mark.parametrize("size", SIZES)
def test_counts_are_those_of_the_predictions(evaluated: dict[int, Path], trained: Path, size: int) -> None:
    found, predictions = read_result(evaluated[3] / str(size))
    assert predictions.examples.tolist() == list(range(size))
    hits = predictions.top == predictions.labels[:, np.newaxis]
    assert (found["examples"], found["top_1"], found["top_5"]) == (size, hits[:, 0].sum(), hits.sum())
    assert found["loss"] == pytest.approx(predictions.losses.mean(), rel=1e-14)
    stored = [fields(record) for record in records(trained.parent / "data", "validation")[:size]]
    assert predictions.files.tolist() == [each["image/path"].decode() for each in stored]
    assert predictions.labels.tolist() == [each["image/class/label"] for each in stored]


def test_an_example_has_the_same_bits_whatever_comes_with_it(evaluated: dict[int, Path]) -> None:
    lines = [(evaluated[1] / str(size) / PREDICTIONS_NAME).read_text().splitlines() for size in SIZES]
    assert all(part == lines[-1][: len(part)] for part in lines)


def whole_files(folder: Path, size: int) -> set[str]:
    """The names of the files of an evaluation of `size` examples in a folder, all of which are checked to be whole."""
    names = {path.name for path in folder.glob("*") if not path.name.startswith(".")} if folder.exists() else set()
    events = {name for name in names if "tfevents" in name}
    if PREDICTIONS_NAME in names:
        assert len(read_predictions(folder)) == size
    for name in events:
        assert len(list(tf.compat.v1.train.summary_iterator(str(folder / name)))) == 2
    if RESULT_NAME in names:
        assert json.loads((folder / RESULT_NAME).read_text())["examples"] == size
    assert names <= {PREDICTIONS_NAME, RESULT_NAME, *events}
    return names


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_no_half_file(trained: Path, injector: Injector, tmp_path: Path, moment: int) -> None:
    log = tmp_path / "log"
    kill = injector.environment(tmp_path / "eval", log, at=moment, error=-signal.SIGKILL)
    line = [sys.executable, *command(trained, tmp_path / "eval", 7, 13)]
    done = run(line, launcher="alone", ranks=1, timeout=240, environment=kill)
    assert done.returncode == -signal.SIGKILL, done.stdout
    assert len(calls(log)) == moment
    for size in (7, 13):
        names = whole_files(tmp_path / "eval" / str(size), size)
        if RESULT_NAME in names:  # which comes last
            read_result(tmp_path / "eval" / str(size))
