"""A lease on a directory: it shows which job writes there, on file systems with locks and on those without.

The lease is a folder `held`. A job prepares it under another name and renames it, which every file system does atomically, and
which fails unless `held` is missing or empty. Inside is a folder of the owner with a random name. The owner writes all of its
files through this folder (`files.stage_writes`). Whoever takes over a lease removes the owner's folder: later writes of the old
owner fail, and of several jobs that take over at once only one succeeds in renaming its folder to `held`.
"""

import errno
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime.files import GONE, exists, filename_in_errors
from shardtune.runtime.owner import OWNER_NAME, Owner

HELD_NAME = "held"
HEARTBEAT_NAME = "beat"
CLAIM, SWEPT = "claim-", "swept-"  # prefixes of folders that are about to become `held`, and that are about to be removed
HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 75.0  # without a heartbeat, until an owner on another machine counts as dead: NFS may show old data for 60 s
POLL_SECONDS = 0.2
REMOVE_SECONDS = 10.0  # files that a process has open may stay visible until it ends
ENDED = b"ended".ljust(16)  # in place of a heartbeat


def describe_owner(directory: Path) -> str:
    """The owner of the lease on `directory`, as text for people."""
    folder = _owner_folder(directory / HELD_NAME)
    return str((folder and Owner.load(folder)) or "another job")


def in_use_error(directory: Path, owner: str) -> WorldError:
    """The error of a job that finds another one at work in `directory`."""
    return WorldError(f"The directory {directory} is in use by {owner}.", "Wait until it ends, or choose another directory.")


class Lease:
    """The lease on `directory`, from when it is free until `release`.

    Attributes:
        folder: the folder of this owner, for `files.stage_writes`.

    Args:
        report: called with a sentence when this job waits for another one, or takes over from it.

    Raises:
        WorldError: another job has the lease and is alive.
    """

    def __init__(self, directory: Path, report: Callable[[str], None]) -> None:
        self._directory = directory
        self.folder = directory / HELD_NAME / secrets.token_hex(8)
        claim = directory / f"{CLAIM}{self.folder.name}"
        try:
            while not _try_to_acquire(claim, self.folder):
                _evict_dead_owner(directory, report)
        except BaseException:
            _remove_folder(claim)
            raise
        for path in directory.iterdir():  # of killed jobs; a job that is claiming just now starts again
            if path.name.startswith((CLAIM, SWEPT)):
                _remove_folder(path)
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, name="lease", daemon=True)
        self._thread.start()

    def release(self, *, completed: bool) -> None:
        """Give the lease up. If the job has not completed, its other ranks can write until the next job starts."""
        self._released.set()
        self._thread.join()
        with suppress(OSError):
            _write_heartbeat(self.folder, ENDED)
        with suppress(OSError):  # one of the two is enough for the next job
            if completed:
                _evict(self.folder)
                self.folder.parent.rmdir()

    def _send_heartbeats(self) -> None:
        count, misses = 0, 0
        while not self._released.wait(HEARTBEAT_SECONDS):
            count += 1
            try:
                _write_heartbeat(self.folder, b"%016d" % count)
                misses = 0
            except OSError as error:  # other errors may pass
                misses = misses + 1 if error.errno in GONE else 0
            if misses > 1:
                sys.stderr.write(
                    f"shardtune: This job has lost {self._directory} to {describe_owner(self._directory)}. "
                    f"Check which of the two should continue.\n"
                )
                sys.stderr.flush()
                os._exit(1)  # the main thread may be anywhere; the launcher ends the other ranks


def _try_to_acquire(claim: Path, folder: Path) -> bool:
    """Rename `claim` to `held`. Returns False if `held` has an owner, or if a new owner has just removed `claim`."""
    own = claim / folder.name
    try:
        own.mkdir(parents=True, exist_ok=True)
        with filename_in_errors(own / OWNER_NAME):
            (own / OWNER_NAME).write_text(Owner.this_process().to_json(), encoding="utf-8")
        with filename_in_errors(own / HEARTBEAT_NAME):
            # Its length never changes: some file systems show another length late.
            (own / HEARTBEAT_NAME).write_bytes(b"%016d" % 0)
        with suppress(OSError):
            folder.parent.rmdir()  # some file systems rename no folder over an empty one
        claim.rename(folder.parent)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, *GONE}:
            return exists(folder)  # True if the rename succeeded and only its answer was lost
        error.filename, error.filename2 = error.filename2 or error.filename, None  # of a rename, the target
        raise
    return True


def _evict_dead_owner(directory: Path, report: Callable[[str], None]) -> None:
    """Remove the folder of an owner that has ended, or that sends no heartbeat for `STALE_SECONDS`.

    Raises:
        WorldError: the owner is alive.
    """
    watched, first_heartbeat, since, is_reported = None, None, 0.0, False
    while folder := _owner_folder(directory / HELD_NAME):
        owner, heartbeat = Owner.load(folder), _read_heartbeat(folder)
        name, is_running = str(owner or "another job"), owner.is_running if owner else None
        if is_running is False or heartbeat == ENDED:
            return _evict(folder)
        if folder != watched:  # report nothing yet: it may be gone at the next look
            watched, first_heartbeat, since, is_reported = folder, heartbeat, time.monotonic(), False
        elif time.monotonic() - since > STALE_SECONDS:
            report(f"Taking over {directory}: {name} has shown no sign of life for {STALE_SECONDS:g} s.")
            return _evict(folder)
        elif not is_reported:
            report(f"{directory} is in use by {name}: waiting at most {STALE_SECONDS:g} s for a sign of life.")
            is_reported = True
        first_heartbeat = first_heartbeat or heartbeat
        if is_running or heartbeat not in (None, first_heartbeat):
            raise in_use_error(directory, name)
        time.sleep(POLL_SECONDS)
    time.sleep(POLL_SECONDS)
    return None


def _owner_folder(held: Path) -> Path | None:
    with _ignore_gone():
        return next(held.iterdir(), None)
    return None


def _read_heartbeat(folder: Path) -> bytes | None:
    try:
        return (folder / HEARTBEAT_NAME).read_bytes()
    except OSError:
        return None


def _write_heartbeat(folder: Path, heartbeat: bytes) -> None:
    """Overwrite the heartbeat in place. Fails if there is none."""
    path = folder / HEARTBEAT_NAME
    with filename_in_errors(path), path.open("r+b", buffering=0) as file:
        file.write(heartbeat)


def _evict(folder: Path) -> None:
    """Move an owner's folder out of `held` and remove it. Of several jobs that try, one succeeds; the others find it gone."""
    aside = folder.parent.parent / f"{SWEPT}{folder.name}"
    with _ignore_gone():
        folder.rename(aside)
        _remove_folder(aside)


@contextmanager
def _ignore_gone() -> Iterator[None]:
    """Ignore that another job has removed what the block works on."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise


def _remove_folder(folder: Path) -> None:
    """Remove a folder into which other processes may be writing."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while exists(folder) and time.monotonic() < deadline:
        with suppress(OSError):  # ignore_errors does not cover all that other processes remove meanwhile
            shutil.rmtree(folder, ignore_errors=True)
