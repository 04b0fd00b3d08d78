"""A report that is killed leaves whole files only."""

import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.injector import Injector, calls
from tests.launching import run
from tests.report.conftest import Reported

MOMENTS = 20  # spread over all calls that change files
USUAL = (5, 12, 19)  # each in another of the three files
KILLS = [pytest.param(moment, marks=[pytest.mark.exhaustive] * (moment not in USUAL)) for moment in range(MOMENTS)]
NAMES = ("report.html", "report.labels.csv", "README.md")


@dataclass(frozen=True)
class Undisturbed:
    """A report that nobody kills: how many calls of it change files, and its list and its card."""

    calls: int
    labels: bytes
    card: bytes


def report(reported: Reported, directory: Path, injector: Injector, at: int | None) -> tuple[Path, int]:
    """Report a copy of the run, killed before the call number `at`; returns the copy, and the exit status."""
    copy = shutil.copytree(reported.run, directory / reported.run.name, ignore=shutil.ignore_patterns(*NAMES))
    watch = injector.environment(copy, directory / "log", at=at, error=-signal.SIGKILL)
    command = [sys.executable, "-m", "shardtune", "report", "--train_dir", str(copy)]
    return copy, run(command, launcher="alone", ranks=1, timeout=240, environment=watch).returncode


@pytest.fixture(scope="module")
def undisturbed(reported: Reported, injector: Injector, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    directory = tmp_path_factory.mktemp("undisturbed")
    copy, status = report(reported, directory, injector, None)
    assert status == 0
    return Undisturbed(
        len(calls(directory / "log")), (copy / "report.labels.csv").read_bytes(), (copy / "README.md").read_bytes()
    )


@pytest.mark.parametrize("number", KILLS)
def test_a_killed_report_leaves_whole_files_only(
    reported: Reported, undisturbed: Undisturbed, injector: Injector, tmp_path: Path, number: int
) -> None:
    moment = 1 + number * undisturbed.calls // MOMENTS
    copy, status = report(reported, tmp_path, injector, moment)
    assert (status, len(calls(tmp_path / "log"))) == (-signal.SIGKILL, moment)
    page, labels, card = (copy / name for name in NAMES)
    assert not page.exists() or page.read_text().endswith("</html>")
    assert not labels.exists() or labels.read_bytes() == undisturbed.labels
    assert not card.exists() or card.read_bytes() == undisturbed.card
