"""A directory that one job at a time writes into, and that all of its ranks see."""

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardtune.errors import WorldError
from shardtune.files import atomic_write, naming
from shardtune.world import World

LOCK_NAME = "lock"
NONCE_NAME = "nonce"
PATIENCE = 10.0  # seconds until a network file system must show a new file on other hosts


@contextmanager
def hold(directory: Path, world: World) -> Iterator[None]:
    """Keep other jobs out of `directory`, and check that every rank of this one sees it.

    It is made if it does not exist. The lock is rank 0's, and goes with that process however it ends.

    Raises:
        WorldError: another job holds it, or a rank does not see what rank 0 wrote there.
    """
    lock = world.at_root(lambda: _lock(directory))
    try:
        nonce = world.from_root(lambda: _mark(directory))
        seen = world.gather((world.name, _sees(directory / NONCE_NAME, nonce)))
        world.at_root(lambda: _require_all(seen, directory))
        yield
    finally:
        if world.is_root:
            os.close(lock)


def _lock(directory: Path) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    with naming(directory / LOCK_NAME):
        lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 200, 0).decode(errors="replace")
            os.close(lock)
            raise WorldError(
                f"One job at a time writes into a directory, but {holder} holds {directory}: "
                f"wait until it ends, or give another."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return lock


def _mark(directory: Path) -> str:
    nonce = secrets.token_hex(16)
    with atomic_write(directory / NONCE_NAME) as file:
        file.write(nonce.encode())
    return nonce


def _require_all(seen: list[tuple[str, bool]], directory: Path) -> None:
    blind = [name for name, sees in seen if not sees]
    if blind:
        raise WorldError(
            f"All ranks write into one shared directory, but {blind[0]} does not see what rank 0 writes into {directory}: "
            f"give a directory on a file system that all hosts share."
        )


def _sees(path: Path, nonce: str) -> bool:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if path.read_text(encoding="ascii") == nonce:
                return True
        except (OSError, UnicodeDecodeError):
            pass  # not there yet, or not what was written
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
