"""stdout and stderr that cannot end a command: whoever reads them may lack a character, or be gone."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

NOBODY_READS = (errno.EPIPE, errno.EIO)  # the end of a pipe, a terminal: both are gone


def protect() -> None:
    """Replace sys.stdout and sys.stderr: from now on, what their encoding lacks is escaped, and what nobody reads is lost."""
    sys.stdout, sys.stderr = _protected(1, sys.stdout), _protected(2, sys.stderr)


def _protected(number: int, stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed before this process began
        return Path(os.devnull).open("w")
    return io.TextIOWrapper(
        io.BufferedWriter(_Reachable(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


class _Reachable(io.FileIO):
    """A file that takes everything, also when nobody reads it any more."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in NOBODY_READS:
                raise
            return memoryview(data).nbytes
