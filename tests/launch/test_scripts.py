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
SCRIPTS = [*sorted(ROOT.glob("launch/*.sh")), *sorted(ROOT.glob("slurm/*")), ROOT / ".ci" / "run"]
TOOLS = "bash cat dirname grep head paste sha256sum tr".split()  # noqa: SIM905 - what setup.sh needs to look around


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a clone of the repository has, with nothing built."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path / "checkout"


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


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        (False, "there is no C++ compiler (g++): install one (Debian: g++) or set CXX."),
        (
            True,
            "Python 3.10, 3.11 or 3.12 with its venv module is needed, and none on the PATH is one: install it or set PYTHON.",
        ),
    ],
)
def test_setup_says_in_one_sentence_what_is_missing(checkout: Path, bare_path: Path, compiler: bool, message: str) -> None:
    if compiler:
        (bare_path / "g++").symlink_to("/bin/true")
    environment = {"PATH": str(bare_path), "HOME": str(checkout)}
    done = subprocess.run(
        [bare_path / "bash", "launch/setup.sh"], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("setup: ")
    assert done.stderr.endswith(f"{message}\n")
    assert done.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


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
