"""Commands as a person types them, in processes of their own."""

import dataclasses
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from shardtune.builder.config import BuildConfig
from shardtune.evaluate.config import EvalConfig
from shardtune.train.config import TrainConfig
from tests.commandline import shardtune
from tests.launching import ENVIRONMENT
from tests.pictures import plant


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("cli") / "images", per_class=3)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a class folder that has no images."""
    directory = tmp_path_factory.mktemp("cli")
    (directory / "blue").mkdir()
    return directory


@pytest.mark.parametrize(("command", "config"), [("build", BuildConfig), ("train", TrainConfig), ("eval", EvalConfig)])
def test_help_shows_every_flag_with_its_default(command: str, config: type[Any]) -> None:
    done = shardtune(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout).split())
    fields = dataclasses.fields(config)
    first = words.index("options")
    starts = [re.compile(rf"--{field.name}\b").search(words, first).start() for field in fields]  # type: ignore[union-attr]
    assert starts == sorted(starts)  # in the order of the dataclass
    for field, start, end in zip(fields, starts, [*starts[1:], len(words)], strict=True):
        default = " ".join(field.default) if isinstance(field.default, tuple) else field.default
        expected = "(required)" if field.default is dataclasses.MISSING else f"(default: {default})"
        assert expected in words[start:end], field.name


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_the_data_directory_needs_no_flag(command: str) -> None:
    done = shardtune(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(rf"usage: shardtune {command} \[-h\] PATH", done.stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_the_usage_lists_each_command_in_a_line(arguments: list[str]) -> None:
    done = shardtune(*arguments)
    usage, other = (done.stdout, done.stderr) if arguments else (done.stderr, done.stdout)
    assert (done.returncode, other) == (0 if arguments else 2, "")
    assert usage.startswith("usage: shardtune COMMAND")
    commands = ["fetch", "build", "verify", "inspect", "train", "eval", "predict", "export", "report", "doctor", "supervise"]
    assert re.findall(r"^  (\w+) +[A-Z].+\.$", usage, re.MULTILINE) == commands


@pytest.mark.parametrize("arguments", [["--help"], ["--help", "--train_shards", "3"], ["-h"]])
def test_help_needs_no_other_flag(arguments: list[str]) -> None:
    done = shardtune("build", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--output_directory" in done.stdout
    assert re.search(r"^  --num_threads +has no effect: each rank is one thread", done.stdout, re.MULTILINE)


BUILD = "build --train_directory {images} --output_directory {output}"
TRAIN = "train --data_dir {empty} --train_dir {output}"
EVAL = "eval --data_dir {empty} --checkpoint_dir {output} --eval_dir {output}"


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("biuld", 2, r"biuld is not a command\. Did you mean build\? See shardtune --help\."),
        ("--train_dir x", 2, r"--train_dir is not a command\. Did you mean train\? See shardtune --help\."),
        (f"{BUILD} --bogus 3", 2, r"--bogus is not a flag of shardtune build\. See shardtune build --help\."),
        (
            f"{TRAIN} --epoch 1",
            2,
            r"--epoch is not a flag of shardtune train\. Did you mean --epochs\? See shardtune train --help\.",
        ),
        ("build --train_dir x", 2, r"--train_dir is not a flag of shardtune build\. Did you mean --train_directory\? "),
        ("train --data-directory=x", 2, r"--data-directory is not a flag of shardtune train\. Did you mean --data_dir\? "),
        (f"{EVAL} --no-ena", 2, r"--no-ena is not a flag of shardtune eval\. Did you mean --no_ema\? "),
        ("verify --data_dir x", 2, r"--data_dir is not a flag of shardtune verify\. See shardtune verify --help\."),
        (f"{BUILD} stray", 2, r"stray belongs to no flag of shardtune build\. See shardtune build --help\."),
        (f"{BUILD} -q --overwrite yes", 2, r"-q yes belongs to no flag of shardtune build\."),
        (
            "build --train_directory {images}",
            2,
            r"shardtune build was given no --output_directory\. See shardtune build --help\.",
        ),
        ("build", 2, "shardtune build was given no --output_directory"),
        (f"{BUILD} --train_shards many", 2, "--train_shards: .*'many'"),
        (f"{BUILD} --train_shards", 2, "--train_shards"),
        (f"{BUILD} --train_shards 0", 2, "--train_shards must be at least 1, not 0"),
        (
            f"{BUILD} --validation_directory x --validation_fraction 0.5",
            2,
            "--validation_directory and --validation_fraction both say which images are for validation",
        ),
        ("verify", 2, "Missing from shardtune verify: PATH"),
        (f"{TRAIN} --num_gpus=4", 2, r"--num_gpus=4 is not possible: .* horovodrun -np 4 shardtune train …"),
        (f"{TRAIN} --fine_tune=True", 2, "--fine_tune needs weights to start from"),
        (f"{EVAL} --norun_once --eval_interval_secs=0", 2, "--eval_interval_secs must be above 0, not 0"),
        ("predict {images}", 2, r"shardtune predict was given no --checkpoint_dir\. See shardtune predict --help\."),
        ("predict --checkpoint_dir {output}", 2, r"shardtune predict was given no path\. Name files or folders, or - for "),
        ("predict {images} --checkpoint_dir {output} --top_k 0", 2, "--top_k must be above 0, not 0"),
        ("predict {images} --checkpoint_dir {output} --checkpoint first", 2, "--checkpoint must be best, last or the number"),
        ("predict {images} --checkpoint_dir {output}", 1, "output is no run directory: it has no config.json"),
        (f"{TRAIN} --epochs 1 --max_steps 3", 2, r"--epochs 1\.0 and --max_steps 3 both say how long the run is"),
        (f"{TRAIN} --max_steps 0", 2, "--max_steps must be above 0 and finite, not 0"),
        (f"{TRAIN} --augment heavy", 2, "'heavy' for argument '--augment'"),
        (f"{EVAL} --subset all", 2, "'all' for argument '--subset'"),
        (
            "build --train_directory {images}/nowhere --output_directory {output}",
            1,
            "The image directory .*nowhere does not exist",
        ),
        (
            "build --train_directory {images}/blue --output_directory {output}",
            1,
            r"blue holds 3 image\(s\) outside of class folders",
        ),
        ("build --train_directory {empty} --output_directory {output}", 1, "blue holds no images"),
        (f"{BUILD} --labels_file nowhere.txt", 1, r"nowhere\.txt cannot be read"),
        ("verify {empty}", 1, "dataset.json does not exist. Run shardtune build first"),
        ("inspect {empty} --output {output}", 1, "dataset.json does not exist. Run shardtune build first"),
        (TRAIN, 1, "dataset.json does not exist. Run shardtune build first"),
        (EVAL, 1, "dataset.json does not exist. Run shardtune build first"),
    ],
)
def test_what_goes_wrong_is_one_line(images: Path, empty: Path, tmp_path: Path, line: str, status: int, message: str) -> None:
    done = shardtune(*line.format(images=images, empty=empty, output=tmp_path / "output").split())
    assert done.returncode == status, done.stderr
    assert re.fullmatch(rf"shardtune: .*{message}.*\n", done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "output").exists()


def test_a_data_set_without_a_run_cannot_be_evaluated(small_data: Path, tmp_path: Path) -> None:
    done = shardtune("eval", "--data_dir", small_data, "--checkpoint_dir", tmp_path / "run", "--eval_dir", tmp_path)
    assert done.returncode == 1
    advice = (
        "Give the --train_dir of a run, an export, or a checkpoint of TensorFlow: its directory, or its path without suffix."
    )
    assert done.stderr == f"shardtune: {tmp_path / 'run'} is no run directory: it has no config.json. {advice}\n"


def test_a_file_in_the_way_is_one_line(images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = shardtune("build", "--train_directory", images, "--output_directory", tmp_path / "file" / "data")
    assert done.returncode == 1
    assert (
        done.stderr == f"shardtune: {tmp_path}/file/data/.shardtune cannot be read or written (Not a directory). "
        "Fix that and run the command again.\n"
    )


@pytest.mark.parametrize("dash", ["_", "-"])
def test_flags_with_underscores_and_with_hyphens(images: Path, tmp_path: Path, dash: str) -> None:
    flags = {"train_directory": images, "output_directory": tmp_path, "train_shards": 2, "validation_fraction": 0.34}
    done = shardtune("build", *(part for name, value in flags.items() for part in (f"--{name.replace('_', dash)}", value)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-4:] == [
        "The validation split has 24 shard(s).",
        "Finished writing all 3 images in data set.",
        "The train split has 2 shard(s).",
        "Finished writing all 6 images in data set.",
    ]
    assert (tmp_path / "train-00001-of-00002").is_file()


def test_a_data_set_is_verified(small_data: Path, tmp_path: Path) -> None:
    done = shardtune("verify", small_data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Verified 81 examples in 6 shards: all as written."
    copy = shutil.copytree(small_data, tmp_path / "copy")
    (copy / "train-00001-of-00004").unlink()
    (copy / "labels.txt").unlink()
    done = shardtune("verify", copy)
    assert done.returncode == 1
    sentence, *findings = done.stderr.splitlines()
    assert sentence.startswith(f"shardtune: {copy} has changed since it was built. Restore")
    assert findings == [
        "train-00001-of-00004: is missing",
        "labels.txt: is missing or does not list the classes of the manifest",
    ]


def test_a_data_set_is_inspected(small_data: Path, tmp_path: Path) -> None:
    done = shardtune("inspect", small_data, "--output", tmp_path / "sheet.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\n 1 +blue +20 +7 *\n", done.stdout)
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize("index", [0, 5])
def test_debug_shows_the_traceback(empty: Path, tmp_path: Path, index: int) -> None:
    arguments = ["build", "--train_directory", str(empty), "--output_directory", str(tmp_path)]
    arguments.insert(index, "--debug")
    done = shardtune(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert f"DataError: The class folder {empty / 'blue'} holds no images." in done.stderr


def test_the_versions_are_printed_without_slow_imports() -> None:
    code = (
        "import sys; from shardtune.cli import main; main(['--version']); print({'tensorflow', 'horovod'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True)
    *versions, imported = done.stdout.splitlines()
    assert imported == "set()"
    assert {f"{name} {version(name)}" for name in ("shardtune", "horovod", "mpi4py")} <= set(versions)
