"""The sdist and the wheel, installed where there is nothing else. What these tests install, they download."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.export.fresh import BARE
from tests.launching import LAUNCHERS
from tests.pictures import plant

ROOT = Path(__file__).parents[1]
TAG = "v8.7.6"
VERSION = TAG[1:]


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command outside of this environment; its output and its errors together."""
    return subprocess.run(
        [str(word) for word in words],
        env={**BARE, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        check=False,
    )


def succeed(*words: object, **environment: str) -> str:
    """What a command prints; the test fails if it fails."""
    done = run(*words, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


def environment(folder: Path, *packages: object) -> Path:
    """The programs of a new environment with these packages and what they need."""
    succeed(sys.executable, "-m", "venv", folder)
    succeed(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages)
    return folder / "bin"


@pytest.fixture(scope="module")
def files() -> list[str]:
    """What git has."""
    return succeed("git", "-C", ROOT, "ls-files").splitlines()


@pytest.fixture(scope="module")
def built(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a tagged checkout, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    for name in files:
        (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "checkout" / name)
    git = ("git", "-C", folder / "checkout", "-c", "user.name=A", "-c", "user.email=a@b")
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "All"), ("tag", TAG)):
        succeed(*git, *words)
    python = environment(folder / "builder", "build") / "python"
    succeed(python, "-m", "build", "--outdir", folder, folder / "checkout")
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"shardtune-{VERSION}-py3-none-any.whl"


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel without extras."""
    return environment(tmp_path_factory.mktemp("bare"), wheel)


def test_the_sdist_has_what_git_has(built: Path, files: list[str]) -> None:
    with tarfile.open(built / f"shardtune-{VERSION}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames() if sdist.getmember(name).isfile()}
    made = {name for name in names if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert names - made == set(files)


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path, files: list[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"shardtune-{VERSION}.dist-info/entry_points.txt").decode()
    package = {name.removeprefix("src/") for name in files if name.startswith("src/")}
    metadata = {name.partition(".dist-info/")[2] for name in names - package}
    assert package <= names
    assert metadata == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
    assert "shardtune = shardtune.cli:main" in entry_points


def test_without_extras_data_sets_are_built_and_checked(programs: Path, tmp_path: Path) -> None:
    photos, data = plant(tmp_path / "photos", per_class=3), tmp_path / "data"
    assert f"shardtune {VERSION}\n" in succeed(programs / "shardtune", "--version")
    assert "usage: shardtune COMMAND" in succeed(programs / "shardtune", "--help")
    succeed(programs / "shardtune", "build", "--train_directory", photos, "--output_directory", data)
    succeed(programs / "shardtune", "verify", data)
    succeed(programs / "shardtune", "inspect", data, "--output", tmp_path / "contact.png")
    assert (tmp_path / "contact.png").is_file()
    done = run(programs / "shardtune", "train", "--data_dir", data, "--train_dir", tmp_path / "run")
    assert done.returncode == 1
    assert re.fullmatch(
        r"shardtune: This command needs TensorFlow and Keras \(No module named '\w+'\)\. "
        r"Run launch/setup\.sh .+, or pip install 'shardtune\[train\]' .+\n",
        done.stdout,
    )


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_train_alone_trains_on_one_worker(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "venv", f"{wheel}[train]", f"tensorflow-cpu=={version('tensorflow-cpu')}")
    assert not (programs / "horovodrun").exists()
    photos, data = plant(tmp_path / "photos", per_class=4), tmp_path / "data"
    succeed(programs / "shardtune", "build", "--train_directory", photos, "--output_directory", data)
    train = [programs / "shardtune", "train", "--data_dir", data, "--image_size", 75, "--batch_size", 4, "--max_steps", 2]
    path = {"PATH": os.pathsep.join((str(programs), "/usr/bin", "/bin"))}
    for place, launcher in (("alone", ()), ("supervised", (programs / "shardtune", "supervise", "--"))):
        output = succeed(*launcher, *train, "--train_dir", tmp_path / place, "--validate_epochs", 0, **path)
        assert "Finished 2 steps" in output
    done = run(*LAUNCHERS["mpirun"](2), *train, "--train_dir", tmp_path / "two")
    assert done.returncode != 0
    assert (
        "mpirun started 2 process(es), but horovod cannot be used here (No module named 'horovod'). Run launch" in done.stdout
    )
