"""The same body on one process and on several, over every backend and launcher."""

import re
from pathlib import Path

import pytest

from tests.launching import launch, run, sys

BODY = str(Path(__file__).with_name("world_body.py"))


@pytest.mark.parametrize(
    ("backend", "launcher", "ranks"),
    [
        ("mpi", "alone", 1),
        ("mpi", "mpirun", 1),
        ("mpi", "mpirun", 3),
        ("horovod", "alone", 1),
        ("horovod", "mpirun", 2),
        ("horovod", "horovodrun --mpi", 2),
        pytest.param("horovod", "horovodrun --gloo", 1, marks=pytest.mark.exhaustive),
        ("horovod", "horovodrun --gloo", 2),
    ],
)
def test_world_keeps_its_promises(backend: str, launcher: str, ranks: int) -> None:
    output = launch([BODY, backend, str(ranks)], launcher=launcher, ranks=ranks)
    assert all(f"rank {rank} of {ranks} ok" in output for rank in range(ranks))


def test_a_launcher_that_the_backend_does_not_see_is_an_error_not_n_worlds_of_one() -> None:
    # Under horovodrun --gloo there is no MPI: each rank would be the only one of its own MPI world.
    done = run([sys.executable, BODY, "mpi", "2"], launcher="gloo", ranks=2, timeout=120)
    assert done.returncode != 0
    assert "ok" not in done.stdout


def test_one_rank_that_fails_ends_all() -> None:
    # The others wait in a gather that never completes.
    code = (
        "import os; from shardtune.runtime.world import World; w = World.from_environment('mpi', os.environ); "
        "w.abort(1) if w.rank == 1 else w.allgather(0)"
    )
    done = run([sys.executable, "-c", code], launcher="mpirun", ranks=3, timeout=60)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("environment", "delay", "said"),
    [
        ({}, 0, "global rendezvous started for rank=0, .* timeout=86400\n(?s:.*)rank 0 connected"),
        ({"HOROVOD_GLOO_TIMEOUT_SECONDS": "2"}, 600, "Wait timeout after 2 seconds"),
    ],
    ids=["ours", "a person's"],
)
def test_gloo_waits_for_a_late_rank_as_long_as_a_person_says_or_else_until_the_guard_ends_it(
    environment: dict[str, str], delay: int, said: str
) -> None:
    code = f"""
import os, time
from shardtune.runtime.world import World
time.sleep({delay} * int(os.environ["HOROVOD_RANK"]))
print(World.from_environment("horovod", os.environ).name.split(" of")[0], "connected", flush=True)
"""
    environment = {"HOROVOD_LOG_LEVEL": "debug", **environment}
    done = run([sys.executable, "-c", code], launcher="gloo", ranks=2, timeout=120, environment=environment)
    assert re.search(said, done.stdout), done.stdout
