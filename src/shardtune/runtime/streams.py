"""stdout and stderr that cannot fail: neither on a character that their encoding lacks, nor when their reader is gone."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

READER_GONE = (errno.EPIPE, errno.EIO)  # of a pipe, of a terminal


def protect_streams() -> None:
    """Replace sys.stdout and sys.stderr: they escape characters that their encoding lacks, and drop what nobody can read."""
    sys.stdout, sys.stderr = _protected(1, sys.stdout), _protected(2, sys.stderr)


def _protected(number: int, stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed before this process started
        return Path(os.devnull).open("w")
    return io.TextIOWrapper(
        io.BufferedWriter(_UnfailingFile(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


class _UnfailingFile(io.FileIO):
    """A file that accepts every write, also when its reader is gone."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in READER_GONE:
                raise
            return memoryview(data).nbytes
