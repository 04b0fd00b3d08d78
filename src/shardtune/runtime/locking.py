"""A directory that one job at a time writes into, and that all of its ranks see."""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime.files import UNSUPPORTED, exists, filename_in_errors, stage_writes
from shardtune.runtime.lease import Lease, describe_owner, in_use_error
from shardtune.runtime.owner import OWNER_NAME
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

LOCK_NAME = "lock"
POLL_SECONDS = 0.2
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
    with _opened(directory / LOCK_NAME) as lock:
        # On a file system without locks, the lease alone protects.
        if not _try_to_lock(lock, directory / LOCK_NAME):
            raise in_use_error(directory, describe_owner(directory))
        lease, completed = Lease(directory, report), False
        try:
            yield lease.folder
            completed = True
        finally:
            lease.release(completed=completed)


@contextmanager
def wait_for_lock(path: Path, world: World) -> Iterator[None]:
    """Keep other processes out of such a block with the same `path`, which stays as an empty file; wait until none is in it. On
    a file system without locks nothing is waited for. For rank 0.

    Raises:
        OSError: the file cannot be made or locked.
    """
    with _opened(path) as lock:
        if not _try_to_lock(lock, path):
            print_on_root(world, f"Waiting for another process, which has locked {path}.")
            while not _try_to_lock(lock, path):
                world.guard.heartbeat(f"waiting for another process, which has locked {path}")
                time.sleep(POLL_SECONDS)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    with filename_in_errors(path):
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield lock
    finally:
        with suppress(OSError):  # nothing was written, and the lock is free all the same
            os.close(lock)


def _try_to_lock(lock: int, path: Path) -> bool:
    """Returns False if another process has locked it, and True on a file system without locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in {errno.ENOLCK, *UNSUPPORTED}:
            error.filename = str(path)
            raise
    return True


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
