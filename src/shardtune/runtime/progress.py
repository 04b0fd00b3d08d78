"""How far along rank 0 is: a bar on a terminal, a plain line every 10 seconds under a launcher or into a file."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shardtune.runtime.world import World

SECONDS_BETWEEN_LINES = 10.0


def print_on_root(world: World, text: str) -> None:
    """One line to the person, from rank 0 alone."""
    if world.is_root:
        _write(text)


def escape_control_chars(text: str) -> str:
    """The text with control characters escaped: names of files may hold some, and a terminal obeys them."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _write(text: str) -> None:
    # In one piece: launchers run Python unbuffered and put their mark before every piece.
    sys.stdout.write(f"{escape_control_chars(text)}\n")
    sys.stdout.flush()


class ProgressReporter:
    """Counts to `total` and shows rate and time left, with a note that the caller may change.

    Args:
        world: only its rank 0 speaks.
        unit: what is counted, in the plural.
        total: where it ends.
        start: where it begins, for work that goes on.
        items_per_count: what one count is worth in the rate that is shown (images per step, say).
    """

    def __init__(
        self, world: World, unit: str, total: int, *, start: int = 0, items_per_count: int = 1, rate_unit: str = ""
    ) -> None:
        self._unit, self._total, self._items_per_count = unit, total, items_per_count
        self._rate_unit = rate_unit or unit
        self._done, self._note = start, ""
        console = Console(file=sys.stdout)
        # mpirun gives rank 0 a terminal to write to even where its own output goes to a file, but none to read from.
        on_terminal = world.is_root and console.is_terminal and sys.stdin.isatty()
        self._prints = world.is_root and not on_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not on_terminal)
        self._task = self._bar.add_task(unit, total=total, completed=start)
        self._started = self._last_line = time.monotonic()
        self._counted = 0  # since then

    def __enter__(self) -> "ProgressReporter":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the clock started."""
        return max(time.monotonic() - self._started, 1e-9)

    @property
    def rate(self) -> float:
        """Counts × weight per second."""
        return self._counted * self._items_per_count / self.seconds

    def advance_untimed(self, count: int, note: str | None = None) -> None:
        """`count` more are done, but tell nothing of the rate (they were done before, or paid for compiling): the clock
        starts anew. The note is that of `advance`."""
        self._done += count
        self._started, self._counted = time.monotonic(), 0
        self._show(note)

    def advance(self, note: str | None = None, count: int = 1) -> None:
        """`count` more are done; `note`, if given, is shown beside the rate from now on."""
        self._done += count
        self._counted += count
        self._show(note)

    def _show(self, note: str | None) -> None:
        self._note = self._note if note is None else note
        known = [self._note] if self._note else []
        if self._counted:
            known.append(f"{self.rate:.1f} {self._rate_unit}/s")
        self._bar.update(self._task, completed=self._done, description=", ".join(known))
        now = time.monotonic()
        due = now - self._last_line >= SECONDS_BETWEEN_LINES or self._done == self._total
        if due and self._prints:
            self._last_line = now
            if self._counted:
                known.append(f"{(self._total - self._done) * self._items_per_count / self.rate:.0f} s left")
            _write(f"{self._unit} {self._done} of {self._total}" + (f": {', '.join(known)}" if known else ""))
