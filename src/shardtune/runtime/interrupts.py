"""Signals that end a process at any moment, also while its main thread waits in C code and runs no Python.

Python notes a signal at once, but calls its handler only when the main thread is back. So a thread of the guard's reads what
Python noted, and ends the process where that is too late.
"""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

GRACE = 2.0  # seconds until the main thread, unless it is blocked, has seen a signal
AGAIN = 1.0  # seconds after which a second signal is a second wish: launchers and terminals may send the same twice


class Interrupts:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt, or do what `listen` says, from `catch` on; before, they end the process."""

    def __init__(self) -> None:
        self._caught: set[int] = set()
        self._came: dict[int, float] = {}  # when each signal came first
        self._seen = False  # by the main thread
        self._listener: Callable[[signal.Signals], None] | None = None
        self._noted: int | None = None

    @property
    def waits_on(self) -> list[int]:
        """Files that can be read when a signal has come."""
        return [] if self._noted is None else [self._noted]

    def catch(self) -> None:
        """For the main thread."""
        self._noted, note = os.pipe()
        for end in (self._noted, note):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(note, warn_on_full_buffer=False)
        self._handle(signal.SIGTERM, signal.SIGINT)

    def listen(self, listener: Callable[[signal.Signals], None]) -> None:
        """From now on SIGTERM, SIGINT and SIGUSR1 only call this; the second of a kind still ends the process."""
        self._listener = listener
        self._handle(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def ignore(self) -> None:
        """From now on they do nothing."""
        for number in self._caught:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, *numbers: signal.Signals) -> None:
        for number in numbers:
            self._caught.add(number)
            signal.signal(number, self._handler)

    def _handler(self, number: int, frame: FrameType | None) -> None:
        before, self._seen = self._seen, True
        if self._listener:
            self._listener(signal.Signals(number))
        elif not before:  # a second one does not disturb what the first one made the main thread do
            raise KeyboardInterrupt

    def is_overdue(self) -> bool:
        """Whether the process must end now, since its main thread does not do it. For another thread."""
        if self._noted is None:
            return False
        now, again = time.monotonic(), False
        try:
            numbers = os.read(self._noted, 1000)
        except BlockingIOError:
            numbers = b""
        for number in self._caught.intersection(numbers):
            again = again or now - self._came.setdefault(number, now) > AGAIN
        blocked = self._listener is None and not self._seen and any(now - came > GRACE for came in self._came.values())
        return again or blocked
