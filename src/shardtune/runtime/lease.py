"""A lease on a directory: which job writes into it, on file systems with locks and on those without.

The lease is a folder `held`. Its owner prepares it elsewhere and moves it into place, which every file system does at once,
and only where `held` is not there yet or is empty. Inside is the owner's own folder, whose name never comes again, and through
which it writes all that it writes (`files.stage_writes`). To take the lease of a job that is gone, or seems so, is to remove
that folder: whatever the job still tries then fails, and only one of several takers succeeds in moving `held` into place.
"""

import errno
import json
import os
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.runtime.files import GONE, exists, filename_in_errors

HELD_NAME = "held"
OWNER_NAME = "owner.json"
HEARTBEAT_NAME = "beat"
CLAIM, SWEPT = "claim-", "swept-"  # folders on their way to become `held`, and to be removed
VERSION = 1  # of owner.json
HEARTBEAT_SECONDS = 5.0  # seconds
STALE_SECONDS = 75.0  # seconds without a beat after which an owner on another machine is gone: NFS may show an old one for 60
POLL_SECONDS = 0.2  # seconds
REMOVE_SECONDS = 10.0  # seconds; files that a process has open may stay visible until it ends
ENDED = b"ended".ljust(16)  # in place of a beat


@dataclass(frozen=True)
class Owner:
    """The process that holds a lease.

    Attributes:
        started: when it did, by the clock of its machine, so that another one of the same number is not taken for it.
        machine: what tells machines, and containers on them, from each other; empty if unknown.
    """

    process: int
    started: str
    host: str
    machine: str
    version: int = VERSION

    @staticmethod
    def here() -> "Owner":
        """This process."""
        process = os.getpid()
        return Owner(process, _started(process) or "", socket.gethostname(), _machine())

    @staticmethod
    def read(folder: Path) -> "Owner | None":
        """Whose folder this is; None if that cannot be told."""
        try:
            value = json.loads((folder / OWNER_NAME).read_text(encoding="utf-8"))
            owner = Owner(**value)
        except (OSError, ValueError, TypeError):
            return None
        types = [type(field) for field in asdict(owner).values()]
        return owner if owner.version == VERSION and types == [int, str, str, str, int] else None

    @property
    def runs(self) -> bool | None:
        """Whether it still does; None if only its beats can tell: it is of another machine, or hidden from this process."""
        if not self.machine or (self.host, self.machine) != (socket.gethostname(), _machine()):
            return None
        started = _started(self.process)
        return None if started is None else started == self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def holder(directory: Path) -> str:
    """Who holds the lease on `directory`, in words."""
    folder = _folder_in(directory / HELD_NAME)
    return str((folder and Owner.read(folder)) or "another job")


class Lease:
    """The lease on `directory`, from when it can be had to `end`.

    Attributes:
        folder: the owner's own, for `files.stage_writes`.

    Args:
        tell: gets a sentence when this has to wait, or takes over.

    Raises:
        WorldError: another job holds it and lives.
    """

    def __init__(self, directory: Path, tell: Callable[[str], None]) -> None:
        self._directory = directory
        self.folder = directory / HELD_NAME / secrets.token_hex(8)
        claim = directory / f"{CLAIM}{self.folder.name}"
        try:
            while not _move_in(claim, self.folder):
                _require_gone(directory, tell)
        except BaseException:
            _remove(claim)
            raise
        for left in directory.iterdir():  # what was killed while it claimed or swept; who still claims begins again
            if left.name.startswith((CLAIM, SWEPT)):
                _remove(left)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def end(self, *, well: bool) -> None:
        """Give it back. If not well, what other ranks still write stays possible until another job begins."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            _write(self.folder / HEARTBEAT_NAME, ENDED)
            if well:
                _evict(self.folder)
                self.folder.parent.rmdir()

    def _beat(self) -> None:
        count, missed = 0, 0
        while not self._ended.wait(HEARTBEAT_SECONDS):
            count += 1
            try:
                _write(self.folder / HEARTBEAT_NAME, b"%016d" % count)
                missed = 0
            except OSError as error:  # whatever else it is may pass
                missed = missed + 1 if error.errno in GONE else 0
            if missed > 1:
                sys.stderr.write(
                    f"shardtune: One job at a time writes into a directory, but {holder(self._directory)} has taken "
                    f"{self._directory} over from this one: see which of them is to go on.\n"
                )
                sys.stderr.flush()
                os._exit(1)  # the main thread may be anywhere; the launcher ends the other ranks


def _move_in(claim: Path, folder: Path) -> bool:
    """Whether the lease could be had. Fails, too, where its new holder has just swept `claim`."""
    own = claim / folder.name
    try:
        own.mkdir(parents=True, exist_ok=True)
        with filename_in_errors(own / OWNER_NAME):
            (own / OWNER_NAME).write_text(json.dumps(asdict(Owner.here())), encoding="utf-8")
        with filename_in_errors(own / HEARTBEAT_NAME):
            (own / HEARTBEAT_NAME).write_bytes(b"%016d" % 0)  # it keeps this length: some file systems tell late of another
        with suppress(OSError):
            folder.parent.rmdir()  # some move no folder over an empty one
        claim.rename(folder.parent)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, *GONE}:
            return exists(folder)  # the answer to a first try may have been lost on its way
        error.filename, error.filename2 = error.filename2 or error.filename, None  # of a move, where to
        raise
    return True


def _require_gone(directory: Path, tell: Callable[[str], None]) -> None:
    """Remove what a job left that is gone, or seems so after a while.

    Raises:
        WorldError: it lives.
    """
    watched, first, since, told = None, None, 0.0, False
    while folder := _folder_in(directory / HELD_NAME):
        owner, beat = Owner.read(folder), _read_beat(folder)
        name, runs = owner or "another job", owner.runs if owner else None
        if runs is False or beat == ENDED:
            return _evict(folder)
        if folder != watched:  # it may be gone when it is looked at again
            watched, first, since, told = folder, beat, time.monotonic(), False
        elif time.monotonic() - since > STALE_SECONDS:
            tell(f"{name}, which held {directory}, has given no sign of life for {STALE_SECONDS:g} s: taking over.")
            return _evict(folder)
        elif not told:
            tell(f"{name} holds {directory}: waiting for a sign of life, {STALE_SECONDS:g} s at most.")
            told = True
        first = first or beat
        if runs or beat not in (None, first):
            raise WorldError(
                f"One job at a time writes into a directory, but {name} holds {directory}: wait until it ends, or give another."
            )
        time.sleep(POLL_SECONDS)
    time.sleep(POLL_SECONDS)
    return None


def _folder_in(held: Path) -> Path | None:
    with _gone_or_done():
        return next(held.iterdir(), None)
    return None


def _read_beat(folder: Path) -> bytes | None:
    try:
        return (folder / HEARTBEAT_NAME).read_bytes()
    except OSError:
        return None


def _write(path: Path, beat: bytes) -> None:
    """In place, and only where there was one."""
    with filename_in_errors(path), path.open("r+b", buffering=0) as file:
        file.write(beat)


def _evict(folder: Path) -> None:
    """Take an owner's folder out of `held`. Of several that try one does, and the others find it gone."""
    aside = folder.parent.parent / f"{SWEPT}{folder.name}"
    with _gone_or_done():
        folder.rename(aside)
        _remove(aside)


@contextmanager
def _gone_or_done() -> Iterator[None]:
    """Somebody else may have removed what the block is about."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise


def _remove(folder: Path) -> None:
    """Remove a folder into which others may be writing."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while exists(folder) and time.monotonic() < deadline:
        with suppress(OSError):  # what others remove meanwhile is not all ignored
            shutil.rmtree(folder, ignore_errors=True)


def _started(process: int) -> str | None:
    """When a process of this machine began, in ticks since the machine did; empty if it does not run, None if it is hidden."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return None
    return "" if state in "ZX" else fields[18]  # proc(5): fields 3 and 22; a dead one stays until its parent asks


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
