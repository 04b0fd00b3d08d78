"""The processes of a job, for one call of a program that they all run. Unlike a command, a call ends no process that can go on,
prints nothing, and takes signals only where it is asked to."""

import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import TracebackType
from typing import Any

from shardtune.errors import RootFailedError, UsageError
from shardtune.runtime.backends import Backend
from shardtune.runtime.guard import STARTUP_SECONDS, Guard
from shardtune.runtime.launcher import detect_launcher
from shardtune.runtime.leaving import end_all_ranks
from shardtune.runtime.world import World


@contextmanager
def job(backend: Backend, config: Any, *, handle_signals: bool = False) -> Iterator[World]:
    """The world of the processes that the launcher started; of size 1 without a launcher.

    Behind a launcher, a guard ends this process if it hangs, as that of a command does: nothing else could. A process alone is
    left to its user.

    Args:
        config: says after how many seconds without progress that is; by itself never.

    Raises:
        UsageError: signals are to be handled outside the main thread.
        WorldError: the processes do not find each other.
        Exception: what rank 0 raises in its work for all, on all ranks.
    """
    if handle_signals and threading.current_thread() is not threading.main_thread():
        raise UsageError("Only the main thread can handle signals.", "Leave out handle_signals, or call it there.")
    launcher = detect_launcher(os.environ)
    guard = Guard(ends_hangs=launcher is not None)
    if handle_signals or launcher:
        guard.start()
    try:
        guard.set_timeout(getattr(config, "hang_timeout", math.inf) + STARTUP_SECONDS)
        world = replace(World.from_environment(backend, os.environ, guard), prints=False)
        if world.size > 1:
            _end_all_ranks_by_uncaught_errors(world)
        if handle_signals:
            guard.interrupts.catch()
        with world.translate_failures():
            yield world
    except RootFailedError as failed:
        raise failed.error from None
    finally:
        guard.stop()
        guard.interrupts.restore()


@cache
def _end_all_ranks_by_uncaught_errors(world: World) -> None:
    """End the job with this process when nothing catches an error, as `python -m mpi4py` does: others would wait for it."""
    show = sys.excepthook

    def show_and_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        show(kind, error, trace)
        end_all_ranks(world, error)

    sys.excepthook = show_and_end
