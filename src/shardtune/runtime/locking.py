"""A directory that one job at a time writes into, and that all of its ranks see."""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime.files import UNSUPPORTED, exists, filename_in_errors, stage_writes
from shardtune.runtime.lease import OWNER_NAME, Lease, holder
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

LOCK_NAME = "lock"
VISIBILITY_SECONDS = 10.0  # seconds until a network file system must show a new file on other hosts


@contextmanager
def exclusive_directory(directory: Path, world: World, covers: Path | None = None) -> Iterator[None]:
    """Keep other jobs out of `directory`, and check that every rank of this one sees it.

    It is made if it does not exist. There are two guards, because whether a file system knows locks, and whether those of
    other hosts count, cannot be told: a lock, where there is one, which goes with rank 0's process however it ends, and a
    lease. What any rank writes below `covers` with `files.atomic_write` comes to pass only while the lease is this job's.

    Args:
        covers: `directory` itself without it; `directory` lies in it.

    Raises:
        WorldError: another job holds it, or a rank does not see what rank 0 wrote there.
    """
    with ExitStack() as stack:
        folder = world.broadcast_from_root(
            lambda: stack.enter_context(_held(directory, lambda text: print_on_root(world, text)))
        )
        seen = world.allgather((world.name, _wait_until_visible(folder / OWNER_NAME)))
        world.run_on_root(lambda: _require_all(seen, directory))
        stack.enter_context(stage_writes(covers or directory, folder))
        yield


@contextmanager
def _held(directory: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """The folder of this job's lease."""
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        lease, well = Lease(directory, tell), False
        try:
            yield lease.folder
            well = True
        finally:
            lease.end(well=well)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with filename_in_errors(directory / LOCK_NAME):
        lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(lock, directory)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorldError(
            f"One job at a time writes into a directory, but {holder(directory)} holds {directory}: "
            f"wait until it ends, or give another."
        ) from None
    except OSError as error:
        if error.errno not in {errno.ENOLCK, *UNSUPPORTED}:  # without it, there is the lease
            error.filename = str(directory / LOCK_NAME)
            raise


def _require_all(seen: list[tuple[str, bool]], directory: Path) -> None:
    without_access = [name for name, sees in seen if not sees]
    if without_access:
        raise WorldError(
            f"All ranks write into one shared directory, but {without_access[0]} does not see what rank 0 writes into "
            f"{directory}: give a directory on a file system that all hosts share."
        )


def _wait_until_visible(path: Path) -> bool:
    deadline = time.monotonic() + VISIBILITY_SECONDS
    while not exists(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
