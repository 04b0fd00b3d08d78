"""A run that is killed at any moment and started again ends with the bits of an undisturbed one."""

import random
import signal
from pathlib import Path

import pytest

from tests.distributed.training import Disturbed, digest, outcome, train

STEPS = 240  # enough for some seconds of kills
FLAGS = ("--deterministic", "--max_steps", STEPS, "--save_every", 7, "--batch_norm", "per_worker")
CASES = [
    pytest.param("mpi", 2, 2, id="mpi-2"),
    pytest.param("mpi", 2, 20, id="mpi-2-often", marks=[pytest.mark.exhaustive, pytest.mark.timeout(1500)]),
    pytest.param("gloo", 2, 20, id="gloo-2-often", marks=[pytest.mark.exhaustive, pytest.mark.timeout(1500)]),
    pytest.param("gloo", 3, 3, id="gloo-3", marks=[pytest.mark.exhaustive, pytest.mark.timeout(1500)]),
    pytest.param("mpi", 4, 3, id="mpi-4", marks=[pytest.mark.exhaustive, pytest.mark.timeout(1500)]),
]


@pytest.mark.parametrize(("over", "ranks", "kills"), CASES)
def test_kills_change_nothing(small_data: Path, tmp_path: Path, over: str, ranks: int, kills: int) -> None:
    undisturbed = tmp_path / "undisturbed"
    train(small_data, undisturbed, *FLAGS, over=over, ranks=ranks)
    generator, run = random.Random(kills), tmp_path / "run"
    for number in range(kills):
        with Disturbed(small_data, run, *FLAGS, over=over, ranks=ranks) as job:
            # Each kill comes later in the run than the one before.
            if job.wait_for_steps(generator.randrange(STEPS * number // kills, STEPS * (number + 1) // kills)):
                job.rank(generator.randrange(ranks)).send_signal(signal.SIGKILL)
            status, output = job.end(timeout=60)
        assert status != 0, output
        assert outcome(run)["outcome"] in ("running", "failed")
    assert "Resuming after step" in train(small_data, run, *FLAGS, over=over, ranks=ranks)
    assert outcome(run)["outcome"] == "finished"
    assert outcome(run)["attempt"] == kills + 1
    assert digest(run) == digest(undisturbed)
