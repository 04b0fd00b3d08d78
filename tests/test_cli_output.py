"""Commands whose output cannot be shown or is read by nobody, and how they end while threads run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commandline import shardtune
from tests.launching import ENVIRONMENT
from tests.pictures import plant


def test_control_characters_of_a_file_name_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J").mkdir()
    done = shardtune("build", "--train_directory", tmp_path / "\x1b[2J" / "none", "--output_directory", tmp_path / "data")
    assert done.returncode == 1
    assert "\\x1b[2J" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose classes are called in several scripts."""
    directory = tmp_path_factory.mktemp("foreign")
    images = plant(directory / "images", per_class=1, classes=("café", "grün", "漢字"))
    shardtune("build", "--train_directory", images, "--output_directory", directory / "漢字", "--train_shards", 1)
    return directory


INSPECT = "inspect {data} --output {here}/sheet.png"


@pytest.mark.parametrize(("encoding", "line"), [("ascii", INSPECT), ("latin-1", INSPECT), ("ascii", "build {again}")])
def test_what_a_terminal_cannot_show_is_escaped(foreign: Path, tmp_path: Path, encoding: str, line: str) -> None:
    again = f"--train_directory {foreign}/images --output_directory {foreign}/漢字 --train_shards 1"
    words = line.format(data=foreign / "漢字", here=tmp_path, again=again).split()
    done = subprocess.run(
        [sys.executable, "-m", "shardtune", *words],
        env={**ENVIRONMENT, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(encoding)
    for name in ("café", "grün", "漢字") if words[0] == "inspect" else ["漢字"]:
        assert name.encode(encoding, "backslashreplace").decode(encoding) in shown


@pytest.mark.parametrize(
    ("line", "stderr"),
    [(INSPECT, False), ("verify {data}", False), ("build --help", False), ("build {again}", False), ("build {again}", True)],
)
def test_a_command_continues_when_nobody_reads_its_output(foreign: Path, tmp_path: Path, line: str, stderr: bool) -> None:
    again = f"--train_directory {foreign}/images --output_directory {tmp_path}/data"
    words = line.format(data=foreign / "漢字", here=tmp_path, again=again).split()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "shardtune", *words],
        env=ENVIRONMENT,
        stdout=writer,
        stderr=writer if stderr else subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, None if stderr else b"")
    assert (tmp_path / "sheet.png").exists() == (words[0] == "inspect")
    assert (tmp_path / "data" / "dataset.json").exists() == ("--output_directory" in words)


def test_a_closed_output_is_no_error(foreign: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m shardtune inspect {foreign}/漢字 --output {tmp_path}/sheet.png >&-"
    done = subprocess.run(["sh", "-c", command], env=ENVIRONMENT, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "sheet.png").exists()


READING_AHEAD = """
import sys
from pathlib import Path
from shardtune import cli
from shardtune.dataset.index import open_data_set
from shardtune.input.pipeline import InputOptions, training_batches
from shardtune.input.reader import RecordReader

def read(config, world):
    global batches  # so that it lives as long as the process
    manifest, records = open_data_set(Path(sys.argv[1]), world)
    reader = RecordReader(Path(sys.argv[1]), manifest, "train", records["train"])
    options = InputOptions(image_size=75, num_threads=2, augmentation="light")
    batches = training_batches(reader, world, options, global_batch_size=12, first_step=0)
    next(batches)

cli.run_command(lambda: None, lambda config: (None, read))
"""


def test_a_command_ends_while_threads_of_its_pipeline_read_ahead(small_data: Path) -> None:
    # Python that is going away and such a thread wait for each other, not always: in 5 of 12 processes, on a busy machine.
    command = [sys.executable, "-c", READING_AHEAD, str(small_data)]
    processes = [subprocess.Popen(command, env=ENVIRONMENT) for _ in range(4)]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
            process.wait()
