"""What rank 0 says: a command prints it, and a program that calls `shardtune.train()` has it in its log.

Progress is a bar on a terminal, and a plain line every 10 seconds under a launcher, into a file, or in a log.
"""

import logging
import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shardtune.runtime.world import World

SECONDS_BETWEEN_LINES = 10.0
LOGGER = logging.getLogger("shardtune")
LOGGER.addHandler(logging.NullHandler())  # without any handler, Python prints warnings


def print_on_root(world: World, text: str, file: TextIO | None = None, level: int = logging.INFO) -> None:
    """Print one line, on rank 0 alone, to `file`, or to stdout without it. A world that does not print logs it at `level`."""
    if not world.is_root:
        return
    if not world.prints:
        LOGGER.log(level, escape_control_chars(text))
        return
    # In one call: launchers run Python unbuffered and put a mark in front of the output of every call.
    file = file or sys.stdout
    file.write(f"{escape_control_chars(text)}\n")
    file.flush()


def escape_control_chars(text: str) -> str:
    """The text with control characters escaped. Names of files may contain some, and a terminal would obey them."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def escape_line(text: str) -> str:
    """The same on one line."""
    return escape_control_chars(text).replace("\n", "\\n")


class ProgressReporter:
    """Counts to `total` and shows the rate, the time left, and a status of the caller's.

    Args:
        world: only its rank 0 says anything.
        unit: what is counted, in the plural.
        total: the final count.
        start: the count at the start, for work that resumes.
        items_per_count: by what the shown rate multiplies the count (images per step, for example).
        rate_unit: what the shown rate counts; `unit` if empty.
    """

    def __init__(
        self, world: World, unit: str, total: int, *, start: int = 0, items_per_count: int = 1, rate_unit: str = ""
    ) -> None:
        self._world, self._unit, self._total, self._items_per_count = world, unit, total, items_per_count
        self._rate_unit = rate_unit or unit
        self._done, self._status = start, ""
        console = Console(file=sys.stdout)
        # mpirun gives rank 0 a terminal as stdout even where its own output goes to a file, but not as stdin.
        on_terminal = world.is_root and world.prints and console.is_terminal and sys.stdin.isatty()
        self._has_bar = on_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not on_terminal)
        self._task = self._bar.add_task(unit, total=total, completed=start)
        self._started = self._last_line = time.monotonic()
        self._timed_count = 0  # since self._started

    def __enter__(self) -> "ProgressReporter":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the clock started."""
        return max(time.monotonic() - self._started, 1e-9)

    @property
    def rate(self) -> float:
        """Items per second: count × items_per_count."""
        return self._timed_count * self._items_per_count / self.seconds

    def advance_untimed(self, count: int, status: str | None = None) -> None:
        """Add `count` and restart the clock, for work that an earlier run did, or that included compiling."""
        self._done += count
        self._started, self._timed_count = time.monotonic(), 0
        self._show(status)

    def advance(self, status: str | None = None, count: int = 1) -> None:
        """Add `count`. From now on `status`, unless it is None, is shown beside the rate."""
        self._done += count
        self._timed_count += count
        self._show(status)

    def _show(self, status: str | None) -> None:
        self._status = self._status if status is None else status
        details = [self._status] if self._status else []
        if self._timed_count:
            details.append(f"{self.rate:.1f} {self._rate_unit}/s")
        self._bar.update(self._task, completed=self._done, description=", ".join(details))
        now = time.monotonic()
        due = now - self._last_line >= SECONDS_BETWEEN_LINES or self._done == self._total
        if due and not self._has_bar:
            self._last_line = now
            if self._timed_count:
                details.append(f"{(self._total - self._done) * self._items_per_count / self.rate:.0f} s left")
            line = f"{self._unit} {self._done} of {self._total}" + (f": {', '.join(details)}" if details else "")
            print_on_root(self._world, line)
