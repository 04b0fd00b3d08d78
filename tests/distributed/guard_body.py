"""Run by test_guard.py on several processes: ranks that hang, that work while others wait, or that do not come at all.

usage: python guard_body.py SCENARIO BACKEND DIRECTORY
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shardtune.runtime.guard import Guard
from shardtune.runtime.world import Backend, World

LIMITS = {"works": 10.0, "gathers": 3.0, "fails": 600.0}  # seconds; for the other scenarios:
LIMIT = 1.5
SKEW = 4.0  # seconds between the last beats of two ranks: more than any rank waits for another one's answer without news
WORK = 15.0  # seconds that ranks wait for one that beats


def does_not_come(world: World) -> None:
    time.sleep(600 * world.rank)
    world.barrier()


def hangs(world: World) -> None:
    """The later ranks beat longer, then none does."""
    work(world, SKEW * world.rank, step=world.rank)
    time.sleep(600)


def is_silent(world: World) -> None:
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    world.barrier()


def fails(world: World) -> None:
    """An operation fails on all ranks, on some of them later."""
    work(world, SKEW / 2 * world.rank)
    silent, _, speaks = world.guard.find_silent_ranks()
    print(f"rank {world.rank}: {silent} {speaks}", flush=True)
    world.barrier()


def works(world: World) -> None:
    """Rank 0 works for all, then each for itself, the last one longest; nobody takes that for a hang."""
    world.run_on_root(lambda: work(world, WORK))
    work(world, WORK * world.rank)
    world.barrier()


def gathers(world: World) -> None:
    """One rank works longer than the others, each alone on a host: first rank 0, then another one."""
    for late in (0, 1):
        world.gather(lambda late=late: work(world, WORK / 2 * (world.rank == late)))  # type: ignore[misc]


def work(world: World, seconds: float, step: int = 0) -> None:
    end = time.monotonic() + seconds
    world.guard.heartbeat(f"in step {step}", step=step)
    while time.monotonic() < end:
        world.guard.heartbeat(f"in step {step}", step=step)
        time.sleep(0.01)


def is_not_there() -> None:
    if "1" in (os.environ.get("OMPI_COMM_WORLD_RANK"), os.environ.get("HOROVOD_RANK")):
        os.kill(os.getpid(), signal.SIGSTOP)


def main(scenario: str, backend: Backend, directory: Path) -> None:
    scenarios: list[Callable[[World], None]] = [does_not_come, hangs, is_silent, fails, works, gathers]
    guard = Guard()
    guard.start()
    if scenario == is_not_there.__name__:
        guard.set_timeout(LIMIT)
        is_not_there()
    if scenario == "gathers":
        socket.gethostname = lambda: f"host-{os.environ['OMPI_COMM_WORLD_RANK']}"
    world = World.from_environment(backend, os.environ, guard)
    guard.set_timeout(LIMITS.get(scenario, LIMIT))
    guard.report_to(directory / f"log-{world.rank}", lambda sentence, ranks: print(sentence, ranks, flush=True))
    if scenario != "does_not_come":
        world.barrier()
        if scenario not in ("is_silent", "gathers"):
            world.use_roll_call(directory)
    next(each for each in scenarios if each.__name__ == scenario)(world)
    print(f"rank {world.rank} of {world.size} ok", flush=True)
    world.exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))  # type: ignore[arg-type]
