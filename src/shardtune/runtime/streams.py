"""stdout and stderr: they cannot fail, and what others write there can be left out."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

READER_GONE = (errno.EPIPE, errno.EIO)  # of a pipe, of a terminal


def protect_streams() -> None:
    """Replace sys.stdout and sys.stderr by streams that cannot fail: they escape characters that their encoding lacks, and drop
    what nobody can read."""
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


def has_reader(file: IO[bytes]) -> bool:
    """Whether nothing that was written to sys.stdout.buffer was dropped because its reader is gone; true of any other file."""
    return getattr(getattr(file, "raw", None), "has_reader", True)


class _UnfailingFile(io.FileIO):
    """A file that accepts every write, also when its reader is gone."""

    has_reader = True

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in READER_GONE:
                raise
            self.has_reader = False
            return memoryview(data).nbytes


@contextmanager
def stderr_without(pattern: str) -> Iterator[None]:
    """Within the context, lines that match `pattern` (an extended regular expression) are left out of stderr, those of C code
    too.

    Another process leaves them out, so that no line is lost if this one dies meanwhile. Ctrl-C does not reach it.
    """
    command = ["grep", "--line-buffered", "--invert-match", "--extended-regexp", "--regexp", pattern]
    with ExitStack() as stack:
        try:
            original = os.dup(2)
            stack.callback(os.close, original)
            kept = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=original, start_new_session=True)
        except OSError:  # there is no stderr, or no grep
            yield
            return
        assert kept.stdin
        stack.callback(kept.communicate)
        os.dup2(kept.stdin.fileno(), 2)
        stack.callback(os.dup2, original, 2)
        yield
