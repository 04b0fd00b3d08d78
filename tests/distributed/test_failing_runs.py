"""Training, evaluations and predictions during which a call of the file system fails once."""

import shutil
import sys
from pathlib import Path

import pytest

from shardtune.evaluate.predictions import PREDICTIONS_NAME
from shardtune.model import checkpoint_file
from shardtune.runtime.files import sha256_file
from tests.distributed import training
from tests.distributed.test_failing_builds import AWKWARD, ERRORS, places, require_said
from tests.faults.mounts import Fault, Mounter, Options, log_of
from tests.launching import run

STEPS = 12
FLAGS = ("--deterministic", "--max_steps", STEPS, "--save_every", 4, "--keep_checkpoints", 10, "--validate_epochs", 1)
COMMANDS = ["train", "eval", "predict"]


@pytest.fixture(scope="module")
def finished(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a run on it, which has validated after 5 and 10 steps and has ended."""
    place = tmp_path_factory.mktemp("finished")
    shutil.copytree(small_data, place / "data")
    training.train(place / "data", place / "run", *FLAGS, over="alone", ranks=1, timeout=300)
    return place


def copied(name: str, finished: Path, backing: Path) -> Path:
    """A copy for a command; where that is train, the run has still to take its last steps."""
    shutil.copytree(finished, backing)
    if name == "train":
        checkpoint_file.checkpoint_path(backing / "run", STEPS).unlink()
        (backing / "run" / "outcome.json").unlink()
    return backing


def command(name: str, place: Path) -> list[str]:
    """A command on such a folder."""
    of_run = ("--checkpoint_dir", place / "run", "--batch_size", 10)
    words: dict[str, tuple[object, ...]] = {
        "train": tuple(training.command(place / "data", place / "run", *FLAGS)[2:]),
        "eval": ("tests.distributed.eval_body", 21, *of_run, "--data_dir", place / "data", "--eval_dir", place / "eval"),
        "predict": ("tests.distributed.predict_body", place / "data", *of_run, "--output", place / "predictions.csv"),
    }
    return [sys.executable, "-m", *map(str, words[name])]


def result(name: str, place: Path) -> str:
    """A digest of what the command leaves."""
    if name == "train":
        return training.digest(place / "run")
    return sha256_file(place / ("predictions.csv" if name == "predict" else f"eval/21/{PREDICTIONS_NAME}"))


def checkpoints(place: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in (place / "run" / "checkpoints").glob("step-*")}


def require_survived(name: str, finished: Path, mount: Mounter, directory: Path, fault: Fault, expected: str) -> str:
    """A command during which a call fails goes well or says so; the same again leaves what it should. Returns a line."""
    directory.mkdir(exist_ok=True)
    backing = copied(name, finished, directory / "backing")
    before = checkpoints(backing)
    root = mount(backing, Options("works", fail=fault, **AWKWARD))
    said = require_said(run(command(name, root), launcher="alone", ranks=1, timeout=300), root, fault)
    after = checkpoints(backing)
    assert {name: after.get(name) for name in before} == before, f"{said}: {after.keys()}"
    again = run(command(name, root), launcher="alone", ranks=1, timeout=300)
    assert again.returncode == 0, f"{said}\n{again.stdout}"
    assert result(name, backing) == expected, said
    return said


@pytest.mark.exhaustive
def test_a_run_resumes_from_a_checkpoint_that_could_not_be_read_once(
    finished: Path, hostile_directory: Mounter, tmp_path: Path
) -> None:
    fault = Fault("read", "/run/checkpoints/step-*", 1, "EIO")
    said = require_survived("train", finished, hostile_directory, tmp_path, fault, result("train", finished))
    assert "step-00000010.safetensors cannot be read (Input/output error). Run the command again." in said


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_survives_each_call_that_fails_once(
    finished: Path, hostile_directory: Mounter, tmp_path: Path, name: str, error: str
) -> None:
    (tmp_path / "undisturbed").mkdir()
    backing = copied(name, finished, tmp_path / "undisturbed" / "backing")
    root = hostile_directory(backing, Options("works", **AWKWARD))
    done = run(command(name, root), launcher="alone", ranks=1, timeout=300)
    assert done.returncode == 0, done.stdout
    expected, failures = result(name, backing), []
    for (kind, pattern), count in places(log_of(root).read_text()).items():
        for number in sorted({1, count}):
            fault = Fault(kind, pattern, number, error)
            directory = tmp_path / str(fault).replace("/", "_")
            try:
                print(require_survived(name, finished, hostile_directory, directory, fault, expected))
            except AssertionError as problem:
                failures.append(f"{fault}: {problem}")
    assert not failures, "\n".join(failures)
