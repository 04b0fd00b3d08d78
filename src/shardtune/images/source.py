"""Read the source file of an image, or say why it cannot be read."""

import errno
import os
import stat
from pathlib import Path

PASSING = {errno.EIO, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT}  # what network file systems give now and then
MAX_BYTES = 2**30  # an Example is a protocol buffer, which is below 2**31 bytes


class RejectedError(Exception):
    """An image that cannot be stored.

    Args:
        code: one of the codes listed in stored.py, the `reason` in rejects.jsonl.
        detail: what was found, in words.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


def read_source(root: Path, path: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a listed file; `path` is relative to `root`.

    Raises:
        RejectedError: name, unreadable, empty or too_large: it has more than `max_bytes`.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise RejectedError("name", "the name is not UTF-8: rename it") from error
    return read_image_bytes(root / path, max_bytes)


def read_image_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file. What may pass is tried twice: an image that is left out, or has no digest, changes the data set.

    Raises:
        RejectedError: unreadable, empty or too_large: it has more than `max_bytes`.
    """
    try:
        try:
            data = _read(path, max_bytes)
        except OSError as error:
            if error.errno not in PASSING:
                raise
            data = _read(path, max_bytes)
    except IsADirectoryError as error:
        raise RejectedError("unreadable", "a directory") from error
    except FileNotFoundError as error:
        raise RejectedError("unreadable", "a dangling link" if path.is_symlink() else "no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise RejectedError("unreadable", getattr(error, "strerror", None) or str(error)) from error
    if not data:
        raise RejectedError("empty", "the file has no bytes")
    return data


def _read(path: Path, max_bytes: int) -> bytes:
    with open(path, "rb", buffering=0, opener=_open_nonblocking) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise RejectedError("unreadable", "not a regular file")
        if status.st_size > max_bytes:
            raise RejectedError("too_large", f"{status.st_size:,} bytes, and an example holds at most {max_bytes:,}")
        return file.readall()


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file; of a named pipe, do not wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)
