"""Several hosts, joined over ssh."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.hosts import Hosts, connected, why_not

BODY = Path(__file__).parents[1] / "distributed" / "world_body.py"


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Hosts a and b, or a skipped test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with connected(tmp_path_factory.mktemp("hosts")) as both:
        yield both


def test_horovodrun_over_two_hosts(hosts: Hosts) -> None:
    done = hosts.run("a", "horovodrun", "--gloo", "-np", 2, "-H", "a:1,b:1", sys.executable, BODY, "horovod", 2)
    assert done.returncode == 0, done.stdout
    assert all(f"rank {rank} of 2 ok" in done.stdout for rank in range(2))
