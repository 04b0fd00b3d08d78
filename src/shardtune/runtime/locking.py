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
from shardtune.runtime.lease import Lease, describe_owner, in_use_error
from shardtune.runtime.owner import OWNER_NAME
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

LOCK_NAME = "lock"
VISIBILITY_SECONDS = 10.0  # in which a network file system must show a new file on other hosts


@contextmanager
def exclusive_directory(directory: Path, world: World, covers: Path | None = None) -> Iterator[None]:
    """Keep other jobs out of `directory`, and check that every rank of this one sees it. Makes it if it does not exist.

    Two means are used, because no call tells whether a file system has locks and whether other hosts see them: a lock, which
    ends with the process of rank 0 however that ends, and a lease. What any rank writes below `covers` with
    `files.atomic_write` takes its name only while this job has the lease.

    Args:
        covers: a directory above `directory`; None: `directory` itself.

    Raises:
        WorldError: another job uses it, or a rank does not see what rank 0 wrote there.
    """
    with ExitStack() as stack:
        folder = world.broadcast_from_root(
            lambda: stack.enter_context(_locked_and_leased(directory, lambda text: print_on_root(world, text)))
        )
        visible = world.allgather((world.name, _wait_until_visible(folder / OWNER_NAME)))
        world.run_on_root(lambda: _check_all_see(visible, directory))
        stack.enter_context(stage_writes(covers or directory, folder))
        yield


@contextmanager
def _locked_and_leased(directory: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """Lock and lease for the block, which gets the folder of the lease's owner."""
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        lease, completed = Lease(directory, report), False
        try:
            yield lease.folder
            completed = True
        finally:
            lease.release(completed=completed)


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
        raise in_use_error(directory, describe_owner(directory)) from None
    except OSError as error:
        if error.errno not in {errno.ENOLCK, *UNSUPPORTED}:  # on a file system without locks, the lease alone protects
            error.filename = str(directory / LOCK_NAME)
            raise


def _check_all_see(visible: list[tuple[str, bool]], directory: Path) -> None:
    without_access = [name for name, is_visible in visible if not is_visible]
    if without_access:
        raise WorldError(
            f"{without_access[0]} does not see what rank 0 writes into {directory}.",
            "Use a directory on a file system that all hosts share.",
        )


def _wait_until_visible(path: Path) -> bool:
    deadline = time.monotonic() + VISIBILITY_SECONDS
    while not exists(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
