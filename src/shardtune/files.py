"""Writing files so that a crash leaves the old content or the new, never half of it."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PIECE_BYTES = 1 << 18


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of calls that know only the number of an open file, as write and fsync do, name `path`."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that takes its name when the block ends well; if durable, for a crash of the
    machine too.

    The order matters: data to disk, then the name, then the directory that holds the name.
    The temporary name is fixed, so that a rerun after a crash replaces what the crash left.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(PIECE_BYTES))
    with naming(path), path.open("rb", buffering=0) as file:
        while size := file.readinto(piece):
            digest.update(piece[:size])
    return digest.hexdigest()
