"""Writing files so that a crash leaves the old content or the new, never half of it."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import xxhash

from shardtune.errors import WorldError

CHUNK_BYTES = 1 << 18
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # what file systems say to calls they do not know
GONE = {errno.ENOENT, errno.ESTALE}  # the latter if another host, or another mount, has removed it

_staging: dict[Path, Path] = {}


@contextmanager
def filename_in_errors(path: Path) -> Iterator[None]:
    """Errors of calls that know only the number of an open file, as write and fsync do, name `path`."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def stage_writes(directory: Path, folder: Path) -> Iterator[None]:
    """Within the block, `atomic_write` makes files below `directory` in `folder`, on the same file system, and moves them.

    Who removes `folder` keeps this process from putting anything in place, however late it wakes up.
    """
    key = directory.absolute()
    _staging[key] = folder
    try:
        yield
    finally:
        del _staging[key]


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the name `path` when the block ends well; if durable, for a crash of the machine too.

    The order matters: data to disk, then the name, then the directory that holds the name. The temporary name is nobody
    else's: two jobs that write the same file do not meet before it is whole.

    Raises:
        WorldError: the job has lost the directory that it held (see `stage_writes`).
    """
    folder = next((_staging[parent] for parent in path.absolute().parents if parent in _staging), None)
    temporary = (folder or path.parent) / f".{path.name}.{secrets.token_hex(8)}.tmp"
    try:
        with filename_in_errors(temporary):
            try:
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    if durable:
                        os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
        if durable:
            with filename_in_errors(path):
                sync_directory(path.parent)
    except OSError as error:
        if error.filename == str(temporary):
            if folder and error.errno in GONE and exists(path.parent):
                raise WorldError(
                    f"One job at a time writes into a directory, but another one has taken it over from this one before "
                    f"{path} was whole: see which of them is to go on."
                ) from error
            error.filename, error.filename2 = str(path), None
        raise


def exists(path: Path) -> bool:
    """Whether a path can be looked at; like `Path.exists`, which lets other errors than the absence of it pass."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, where the file system knows how."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    return _hash_file(path, hashlib.sha256())


def xxh3_file(path: Path) -> str:
    """XXH3 of a file, 128 bits, read in pieces: at memory speed, against accidents only."""
    return _hash_file(path, xxhash.xxh3_128())


def _hash_file(path: Path, digest: Any) -> str:
    piece = memoryview(bytearray(CHUNK_BYTES))
    with filename_in_errors(path), path.open("rb", buffering=0) as file:
        while size := file.readinto(piece):
            digest.update(piece[:size])
    return str(digest.hexdigest())
