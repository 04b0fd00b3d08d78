"""Signals that can end a process at any moment, also while its main thread is blocked in C code and runs no Python.

Python records a signal at once, but calls its handler only when the main thread runs Python again. So the thread of the guard
reads what Python recorded, and ends the process if the main thread does not react.
"""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

REACTION_SECONDS = 2.0  # in which a main thread that is not blocked has handled a signal
REPEAT_SECONDS = 1.0  # after which a second signal is a second request: launchers and terminals may send the same one twice


class Interrupts:
    """What signals do. Before `catch`, it is what the process had them do; from then until `restore`, SIGTERM and Ctrl-C raise
    KeyboardInterrupt, or call the listener."""

    def __init__(self) -> None:
        self._handled: dict[int, Any] = {}  # with the handler that each had before
        self._first_seen: dict[int, float] = {}  # when each signal came first
        self._has_reached_main_thread = False
        self._listener: Callable[[signal.Signals], None] | None = None
        self._wakeup: int | None = None
        self._former_wakeup = -1

    @property
    def wakeup_files(self) -> list[int]:
        """File descriptors that become readable when a signal comes."""
        return [] if self._wakeup is None else [self._wakeup]

    def catch(self) -> None:
        """Handle SIGTERM and SIGINT from now on. For the main thread."""
        self._wakeup, writer = os.pipe()
        for end in (self._wakeup, writer):
            os.set_blocking(end, False)
        self._former_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._handle(signal.SIGTERM, signal.SIGINT)

    def listen(self, listener: Callable[[signal.Signals], None]) -> None:
        """From now on SIGTERM, SIGINT and SIGUSR1 only call `listener`. A second signal of a kind still ends the process. Where
        signals are not caught, they stay as they are."""
        if self._wakeup is not None:
            self._listener = listener
            self._handle(signal.SIGUSR1)

    def restore(self) -> None:
        """Let signals do what they did before `catch`. For the main thread, when the guard has stopped."""
        for number, handler in self._handled.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: it is unknown to Python
        if self._wakeup is not None:
            os.close(signal.set_wakeup_fd(self._former_wakeup))
            os.close(self._wakeup)

    def ignore(self) -> None:
        """Ignore these signals from now on."""
        for number in self._handled:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, *numbers: signal.Signals) -> None:
        for number in numbers:
            former = signal.signal(number, self._handler)
            self._handled.setdefault(number, former)

    def _handler(self, number: int, frame: FrameType | None) -> None:
        is_first, self._has_reached_main_thread = not self._has_reached_main_thread, True
        if self._listener:
            self._listener(signal.Signals(number))
        elif is_first:  # a second one does not disturb the main thread while it cleans up after the first
            raise KeyboardInterrupt

    def must_exit(self) -> bool:
        """Whether the process must end now, because the main thread does not end it. For another thread."""
        if self._wakeup is None:
            return False
        now, is_repeated = time.monotonic(), False
        try:
            numbers = os.read(self._wakeup, 1000)
        except BlockingIOError:
            numbers = b""
        for number in self._handled.keys() & set(numbers):
            is_repeated = is_repeated or now - self._first_seen.setdefault(number, now) > REPEAT_SECONDS
        is_blocked = (
            self._listener is None
            and not self._has_reached_main_thread
            and any(now - first > REACTION_SECONDS for first in self._first_seen.values())
        )
        return is_repeated or is_blocked
