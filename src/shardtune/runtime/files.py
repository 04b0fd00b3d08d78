"""Write files so that a crash leaves the old content or the new, never half of it."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

import xxhash

from shardtune.errors import WorldError

CHUNK_BYTES = 1 << 18
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # from file systems that lack a call
GONE = {errno.ENOENT, errno.ESTALE}  # removed; ESTALE if by another host or mount

_staging: dict[Path, Path] = {}


@contextmanager
def filename_in_errors(path: Path) -> Iterator[None]:
    """Put `path` into errors of the block that name no file: calls on an open file, like write and fsync, do not know it."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def stage_writes(directory: Path, folder: Path) -> Iterator[None]:
    """Within the block, `atomic_write` creates files below `directory` in `folder` first, and then renames them.

    Removing `folder` keeps this process from finishing any file, however late it wakes up.

    Args:
        folder: on the same file system as `directory`.
    """
    key = directory.absolute()
    _staging[key] = folder
    try:
        yield
    finally:
        del _staging[key]


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file that is renamed to `path` when the block ends without an error.

    The order matters: data to disk, then the name, then the directory with the name. The temporary name is random, so two jobs
    that write the same file each write their own.

    Args:
        durable: whether the file survives a crash of the machine.

    Raises:
        WorldError: another job has taken over the directory (see `stage_writes`).
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
                sync_path(path.parent)
    except OSError as error:
        if error.filename == str(temporary):
            if folder and error.errno in GONE and exists(path.parent):
                raise WorldError(
                    f"{path} was not finished, because another job has taken over its directory from this one.",
                    "Check which of the two should continue.",
                ) from error
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def atomic_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new directory that is renamed to `path` when the block ends without an error, with all that it holds on disk.

    A killed process leaves it beside `path`, under a name that begins with a dot and ends in .tmp.

    Args:
        replace: a directory `path` is renamed in the same way at the end, and removed when the new one has its name. Killed
            between the two renames, both are there under such names, and nothing is at `path`.

    Raises:
        OSError: `path` exists and is no empty directory, without `replace`; or something cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, replaced = (path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp" for _ in range(2))
    temporary.mkdir()
    try:
        yield temporary
        for written in temporary.rglob("*"):
            sync_path(written)
        sync_path(temporary)
        if replace and path.exists():
            path.rename(replaced)
        try:
            temporary.rename(path)
        except OSError:
            if replaced.exists():
                replaced.rename(path)
            raise
        sync_path(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def exists(path: Path) -> bool:
    """Whether a path can be read. Unlike `Path.exists`, returns False for every error."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def sync_path(path: Path) -> None:
    """Make the content of a file, or the names in a directory, durable, where the file system can do so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """The content of a file. Unlike those of `Path.read_bytes`, all errors name it."""
    with filename_in_errors(path):
        return path.read_bytes()


def list_matching(directory: Path, pattern: str) -> list[Path]:
    """The paths in a directory whose names match, sorted; none where there is no directory.

    Unlike `Path.glob`, which finds nothing then, raises an OSError where the directory cannot be read.
    """
    try:
        return sorted(path for path in directory.iterdir() if fnmatchcase(path.name, pattern))
    except (FileNotFoundError, NotADirectoryError):
        return []


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text. Reads the file in chunks."""
    return hash_file(path, hashlib.sha256())


def xxh3_file(path: Path) -> str:
    """128-bit XXH3 of a file as hexadecimal text. As fast as memory; not safe against intent. Reads the file in chunks."""
    return hash_file(path, xxhash.xxh3_128())


def hash_file(path: Path, digest: Any) -> str:
    """The hexadecimal digest of a file, by an object of hashlib or xxhash. Reads the file in chunks."""
    chunk = memoryview(bytearray(CHUNK_BYTES))
    with filename_in_errors(path), path.open("rb", buffering=0) as file:
        while size := file.readinto(chunk):
            digest.update(chunk[:size])
    return str(digest.hexdigest())
