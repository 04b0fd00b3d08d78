"""A run resumes with any number of workers, whatever its global batch and however much each holds at once.

With frozen batch normalisation the losses do not depend on that. Synced, they do not while no worker needs micro-batches, of
which each is normalised by itself; with them, no rank may wait for another.
"""

import math
import shutil
from pathlib import Path

import pytest

from shardtune.model import checkpoint_file
from tests.distributed.resume_body import STEPS
from tests.distributed.training import LAUNCHERS, metrics
from tests.launching import launch

BODY = ["-m", "tests.distributed.resume_body"]
CASES = ["5,2,frozen", "5,2,synced", "7,1,synced"]
ALL_CASES = [f"{size},{most},{kind}" for size in (5, 6, 7, 16) for most in (1, 2, 3, 4) for kind in ("frozen", "synced")]


def start_runs(data: Path, directory: Path, cases: list[str]) -> Path:
    """Runs of one worker that holds the whole batch, with a checkpoint of each step."""
    launch([*BODY, "begin", str(data), str(directory), *cases], timeout=1200)
    return directory


def resume_runs(data: Path, before: Path, directory: Path, cases: list[str], *, over: str, workers: int, after: int) -> Path:
    """The same runs, after so many steps by other workers."""
    shutil.copytree(before, directory)
    for case in cases:
        for step in range(after + 1, STEPS + 1):
            checkpoint_file.checkpoint_path(directory / case, step).unlink()
    output = launch(
        [*BODY, "resume", str(data), str(directory), *cases],
        launcher=LAUNCHERS[over] if workers > 1 else "alone",
        ranks=workers,
        timeout=1200,
    )
    assert output.count(f"Resuming after step {after}") == len(cases)
    return directory


def require_equal_losses(before: Path, after: Path, cases: list[str], workers: list[int]) -> None:
    for case in cases:
        size, most, kind = case.split(",")
        expected, found = (list(metrics(directory / case, "loss").values()) for directory in (before, after))
        assert len(found) == STEPS
        if kind == "frozen" or all(math.ceil(int(size) / count) <= int(most) for count in workers):
            assert found == pytest.approx(expected, abs=1e-5), case
        assert all(map(math.isfinite, found)), case


def test_a_run_resumes_with_two_then_three_workers(small_data: Path, tmp_path: Path) -> None:
    alone = start_runs(small_data, tmp_path / "alone", CASES)
    two = resume_runs(small_data, alone, tmp_path / "two", CASES, over="mpi", workers=2, after=2)
    three = resume_runs(small_data, two, tmp_path / "three", CASES, over="gloo", workers=3, after=4)
    require_equal_losses(alone, three, CASES, [2, 3])


@pytest.fixture(scope="module")
def undisturbed(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start_runs(small_data, tmp_path_factory.mktemp("runs") / "alone", ALL_CASES)


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("first", range(1, 6))
def test_a_run_resumes_with_any_number_of_workers(small_data: Path, undisturbed: Path, tmp_path: Path, first: int) -> None:
    before = resume_runs(small_data, undisturbed, tmp_path / "before", ALL_CASES, over="mpi", workers=first, after=2)
    for second in range(1, 6):
        over = "gloo" if second % 2 else "mpi"
        after = resume_runs(small_data, before, tmp_path / f"after-{second}", ALL_CASES, over=over, workers=second, after=4)
        require_equal_losses(undisturbed, after, ALL_CASES, [first, second])
        shutil.rmtree(after)
