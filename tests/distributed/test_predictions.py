"""Predictions on real processes: the same bytes for any number, those of an evaluation, and no half file."""

import csv
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.evaluate.predictions import PREDICTIONS_NAME
from shardtune.runtime.world import World
from tests.distributed.training import train
from tests.faults.injector import Injector, calls
from tests.images.image_files import CMYK, JPEG, REENCODED, REJECTED, oriented
from tests.launching import ENVIRONMENT, launch, run
from tests.pictures import plant

BATCH = 4
ODD = {  # files, and what their lines say in place of a prediction; "" if there is one
    "cut.jpg": (JPEG[: len(JPEG) // 2], "truncated: "),
    "empty.jpg": (b"", "empty: the file has no bytes"),
    "page.jpg": (REJECTED["web page"][0], "unsupported: a web page: the download of the image failed"),
    "heic.jpg": (REJECTED["heic"][0], "heic: a HEIC image: convert it to JPEG"),
    "16-bit.png": (REENCODED["png of 16 bits"][0], ""),
    "cmyk.jpg": (CMYK, ""),
    "turned.jpg": (oriented("JPEG", 6), ""),
    "moving.gif": (REENCODED["gif, moving"][0], ""),
    "gray.jpg": (REENCODED["gray"][0], ""),
    'a,b "c"\n.jpg': (JPEG, ""),
}
KILLS = [pytest.param(seed, marks=[pytest.mark.exhaustive] * (seed >= 3)) for seed in range(20)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/odd and images/{blue,green,red}, the data set data of all that can be read, and a run of it."""
    directory = tmp_path_factory.mktemp("place")
    plant(directory / "images", per_class=4)
    (directory / "images" / "odd").mkdir()
    for name, (content, _) in ODD.items():
        (directory / "images" / "odd" / name).write_bytes(content)
    build(BuildConfig(directory / "images", output_directory=directory / "data", train_shards=2, max_rejects=4), World())
    train(directory / "data", directory / "run", "--max_steps", 6, over="alone", ranks=1)
    return directory


def command(place: Path, *words: object) -> list[str]:
    flags = ("--checkpoint_dir", place / "run", "--batch_size", BATCH, "--subset", "train")
    return [sys.executable, "-m", "tests.distributed.predict_body", *map(str, (*words, *flags))]


def predict(place: Path, output: Path, ranks: int, environment: Mapping[str, str] = {}) -> bytes:
    """What ranks say of all images, of one that is not there, and of the examples of the data set."""
    line = command(place, place / "images", place / "none.jpg", place / "data", "--output", output)
    launcher = "mpirun" if ranks > 1 else "alone"
    done = run(line, launcher=launcher, ranks=ranks, timeout=240, environment=environment)
    assert done.returncode == 1
    assert "shardtune: 5 of 41 images could not be read. Their lines say why." in done.stdout.splitlines(), done.stdout
    return output.read_bytes()


@pytest.fixture(scope="module")
def alone(place: Path, injector: Injector, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """What one rank says, and how many of its calls change files."""
    directory = tmp_path_factory.mktemp("alone")
    (directory / "out").mkdir()
    watch = injector.environment(directory / "out", directory / "log")
    return predict(place, directory / "out" / "output.csv", 1, watch), len(calls(directory / "log"))


@pytest.fixture(scope="module")
def rows(alone: tuple[bytes, int]) -> list[list[str]]:
    return list(csv.reader(alone[0].decode().splitlines(keepends=True)))[1:]


@pytest.mark.parametrize("ranks", [3, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_any_number_of_ranks_writes_the_same_bytes(place: Path, alone: tuple[bytes, int], tmp_path: Path, ranks: int) -> None:
    assert predict(place, tmp_path / "output.csv", ranks) == alone[0]


def test_images_come_in_the_order_in_which_they_were_named(place: Path, rows: list[list[str]]) -> None:
    names = sorted(str(path) for path in (place / "images").rglob("*") if path.is_file())
    assert [row[0] for row in rows[:22]] == names
    assert rows[22][:2] == [str(place / "none.jpg"), "unreadable: no such file"]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_has_its_outcome(place: Path, rows: list[list[str]], name: str) -> None:
    [row] = [row for row in rows if row[0] == str(place / "images" / "odd" / name)]
    expected = ODD[name][1]
    assert row[1].startswith(expected)
    assert bool(row[1]) == bool(expected)
    probabilities = [float(value) for value in row[4::3] if value]
    assert len(probabilities) == (0 if expected else 5)
    assert probabilities == sorted(probabilities, reverse=True)


def test_files_and_examples_have_the_digits_of_an_evaluation(place: Path, rows: list[list[str]], tmp_path: Path) -> None:
    flags = ("--checkpoint_dir", place / "run", "--eval_dir", tmp_path, "--batch_size", BATCH, "--subset", "train")
    launch(["-m", "tests.distributed.eval_body", "18", *map(str, flags)])
    with (tmp_path / "18" / "train" / PREDICTIONS_NAME).open(newline="") as file:
        evaluated = {row[1]: row[5:] for row in list(csv.reader(file))[1:]}
    assert len(evaluated) == 18
    files = {row[0].removeprefix(f"{place}/images/"): row[2:] for row in rows[:23] if not row[1]}
    assert files == evaluated
    assert {row[0]: row[2:] for row in rows[23:]} == evaluated


def test_stdout_has_the_same_bytes(place: Path, alone: tuple[bytes, int]) -> None:
    line = command(place, place / "images", place / "none.jpg", place / "data")
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, timeout=240, check=False)
    assert done.stdout == alone[0]
    complaint = "shardtune: 5 of 41 images could not be read. Their lines say why."
    chosen, rate, said = done.stderr.decode().splitlines()
    assert (chosen, said) == ("Taking the last checkpoint, of step 6: the run was not validated.", complaint)
    assert re.fullmatch(r"41 images in \d+\.\d s: \d+\.\d images/s\.", rate)


@contextmanager
def endless(place: Path, *flags: object) -> Iterator[subprocess.Popen[bytes]]:
    """A prediction of the same file for ever, named on stdin."""
    line = command(place, "-", *flags)
    with subprocess.Popen(["yes", place / "images" / "red" / "red-00.jpg"], stdout=subprocess.PIPE) as names:
        pipes = {"stdin": names.stdout, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(line, env=ENVIRONMENT, **pipes) as job:  # type: ignore[call-overload]
            try:
                yield job
            finally:
                job.kill()
                names.kill()


def test_predictions_are_written_while_others_are_made_and_end_when_nobody_reads_them(place: Path) -> None:
    with endless(place) as job:
        lines = [job.stdout.readline() for _ in range(50)]
        job.stdout.close()
        assert job.wait(timeout=60) == 0
        assert job.stderr.read() == b"Taking the last checkpoint, of step 6: the run was not validated.\n"
    assert len(set(lines[1:])) == 1
    assert lines[0].startswith(b'"file","error",')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_file(place: Path, tmp_path: Path, number: signal.Signals) -> None:
    with endless(place, "--output", tmp_path / "output.csv") as job:
        while not any(path.stat().st_size > 1000 for path in tmp_path.iterdir()):
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.02)
        job.send_signal(number)
        assert job.wait(timeout=60) == 75
        assert b"shardtune: Stopped by a signal." in job.stderr.read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", KILLS)
def test_a_kill_leaves_no_half_file(
    place: Path, alone: tuple[bytes, int], injector: Injector, tmp_path: Path, seed: int
) -> None:
    moment, output = 1 + random.Random(seed).randrange(alone[1]), tmp_path / "out" / "output.csv"
    output.parent.mkdir()
    kill = injector.environment(output.parent, tmp_path / "log", at=moment, error=-signal.SIGKILL)
    line = command(place, place / "images", place / "none.jpg", place / "data", "--output", output)
    done = run(line, launcher="alone", ranks=1, timeout=240, environment=kill)
    assert done.returncode == -signal.SIGKILL, done.stdout
    assert len(calls(tmp_path / "log")) == moment
    assert not output.exists() or output.read_bytes() == alone[0]
