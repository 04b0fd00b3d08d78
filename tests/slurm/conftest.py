"""The SLURM that these tests share."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, running, why_not


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running SLURM of two nodes with two cores each, or a skipped test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster
