"""What workers compute together: synced batch normalisation, and a loss scale that all agree on."""

from pathlib import Path

import pytest

from tests.launching import launch

BODY = str(Path(__file__).with_name("batchnorm_body.py"))


@pytest.mark.parametrize(
    ("launcher", "ranks"),
    [("mpirun", 3), *(pytest.param(launcher, 2, marks=pytest.mark.exhaustive) for launcher in ("mpirun", "gloo"))],
)
def test_many_workers_compute_what_one_computes(launcher: str, ranks: int) -> None:
    output = launch([BODY], launcher=launcher, ranks=ranks)
    assert all(f"rank {rank} of {ranks} ok" in output for rank in range(ranks))
