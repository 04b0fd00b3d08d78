"""The scripts a person runs: what they say where something is missing, and, marked exhaustive, that they do their job."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [*sorted(ROOT.glob("launch/**/*.sh")), *sorted(ROOT.glob("slurm/*")), ROOT / ".ci" / "run"]
TOOLS = "bash cat dirname grep head paste sha256sum tr uname".split()  # noqa: SIM905 - what setup.sh needs to look around


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH on which there is neither a compiler nor a Python."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path / "bin"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_is_clean(script: Path) -> None:
    line = [Path(sys.executable).with_name("shellcheck"), "--external-sources", script]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("bash") or "bash", "launch/setup.sh"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "Python 3.10 to 3.13 with its venv module is needed, and none on the PATH is one: install it or set PYTHON."),
        ({"PYTHON": sys.executable, "KIND": "tpu"}, "KIND is tpu, and must be cpu or gpu."),
    ],
)
def test_setup_says_in_one_sentence_what_is_missing(
    checkout: Path, bare_path: Path, environment: dict[str, str], message: str
) -> None:
    done = setup(checkout, PATH=str(bare_path), HOME=str(checkout), **environment)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"setup: {message}\n")
    assert not (checkout / ".venv").exists()
    assert not (checkout / ".venvs").exists()


def test_setup_leaves_an_environment_alone_that_jobs_may_use(checkout: Path, bare_path: Path) -> None:
    (checkout / ".venv").mkdir()  # as setup.sh once made it
    done = setup(checkout, PATH=str(bare_path), HOME=str(checkout), PYTHON=sys.executable)
    assert done.returncode == 1
    assert "remove it when no job uses it" in done.stderr
    assert (checkout / ".venv").is_dir()


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
def test_without_a_compiler_one_worker_trains_all_the_same(checkout: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "CXX": "no-compiler", "XDG_CACHE_HOME": str(checkout / "cache")}
    done = setup(checkout, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "There is no C++ compiler (no-compiler): install one (Debian: g++) or set CXX." in done.stderr
    assert "Horovod could not be installed" in done.stderr
    code = "import importlib.util, tensorflow, shardtune; print(importlib.util.find_spec('horovod'))"
    found = subprocess.run([checkout / ".venv/bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "None\n"
    assert "building Horovod" in setup(checkout, **environment).stdout  # it is tried again


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_horovod_is_built_with_nccl_where_there_is_no_toolkit(checkout: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "KIND": "gpu"}
    done = setup(checkout, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    programs = checkout / ".venv" / "bin"
    built = subprocess.run([programs / "horovodrun", "--check-build"], capture_output=True, text=True, check=True).stdout
    assert all(f"[X] {part}" in built for part in ("TensorFlow", "MPI", "Gloo", "NCCL")), built
    assert setup(checkout, **environment).stdout == "setup: Ready. To activate: source .venv/bin/activate\n"


def test_demo_with_too_many_arguments_says_how_it_is_used(checkout: Path) -> None:
    done = subprocess.run(["bash", "launch/demo.sh", "a", "b", "c"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "launch/demo.sh PHOTOS_DIR [PRETRAINED_CHECKPOINT]" in done.stderr


def demo(checkout: Path, *arguments: Path) -> tuple[float, int]:
    """Run the demo in a checkout with nothing built; returns precision@1 and the number of images it was measured on."""
    done = subprocess.run(
        ["bash", "launch/demo.sh", *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = checkout.glob("demo/*/run/eval.json")
    figures = json.loads(result.read_text())
    (shown,) = re.findall(r"^precision@1 +(\S+) +on (\d+) images", done.stdout, re.MULTILINE)
    assert shown == (f"{figures['precision_at_1']:.4f}", str(figures["examples"]))
    return figures["precision_at_1"], figures["examples"]


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
def test_the_demo_learns_digits(checkout: Path) -> None:
    precision, examples = demo(checkout)
    assert (precision >= 0.97, examples) == (True, 360)


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_the_demo_learns_flowers_from_the_2016_checkpoint(checkout: Path, shared_data: Path) -> None:
    checkpoint = shared_data / "inception-v3-2016-03-01" / "model.ckpt-157585"
    precision, examples = demo(checkout, shared_data / "flowers", checkpoint)
    assert (precision >= 0.85, examples) == (True, 150)
