"""What the tests of the scripts share."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.checkout import ROOT, lay_out
from tests.launch.hosts import Hosts, connected, why_not


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a clone of the repository has, with nothing built."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path / "checkout"


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, whose network is small."""
    return lay_out(tmp_path_factory.mktemp("checkout"), "small")


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Hosts a and b, or a skipped test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with connected(tmp_path_factory.mktemp("hosts")) as both:
        yield both
