"""Ends a job that no longer steps, and names the rank that it waits for.

The main thread of a rank that waits for another is blocked inside a collective, so a thread of its own does this, and ranks
tell each other through files in the run directory, which do not need the network that may be what is broken.
"""

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from shardtune.files import write_json
from shardtune.train.ranklog import RankLog
from shardtune.world import World

PHASES = ("starting", "validating", "saving", "waiting for input", "in a step")  # in the order in which they come
STARTING, VALIDATING, SAVING, WAITING_FOR_INPUT, IN_A_STEP = PHASES
COMPILING = 300.0  # seconds more for what is traced and compiled the first time
ROLL_CALL = 2.0  # seconds until the reports of all ranks that live are there
LOOK_EVERY = 0.2  # seconds
STUCK = 1.5  # seconds after which the thread that watches cannot run, and the process ends without it
LAST_RESORT = 8.0  # seconds that it has for the rest, once it runs


class Watchdog:
    """Watches this rank from `start` to `stop`; the main thread tells where it is by `beat`.

    Args:
        directory: the run directory.
        timeout: seconds without a beat after which the job ends.
        attempt: of the run, so that reports of an earlier one are not taken for this one's.
        tell: gets the sentence that says who is late, and their ranks; it is called on one rank only.
    """

    def __init__(
        self, directory: Path, world: World, timeout: float, attempt: int, log: RankLog, tell: Callable[[str, list[int]], None]
    ) -> None:
        self._reports = [directory / "logs" / f"last-{attempt}-{rank}.json" for rank in range(world.size)]
        self._world, self._timeout, self._log, self._tell = world, timeout, log, tell
        self._hosts = world.gather(socket.gethostname())
        self._processes = world.gather((os.getpid(), _born(os.getpid())))
        self._stacks = log.path.open("a", encoding="utf-8")
        self.beat(0, STARTING, compiles=True)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        faulthandler.cancel_dump_traceback_later()
        self._thread.join()
        self._stacks.close()

    def beat(self, step: int, phase: str, *, compiles: bool = False) -> None:
        """The main thread comes to `phase` of `step`, and may compile there."""
        allowed = self._timeout + (COMPILING if compiles else 0.0)
        self._place, self._deadline = (step, phase), time.monotonic() + allowed
        # C code that keeps Python's lock keeps the thread below from running; this runs without it.
        faulthandler.dump_traceback_later(allowed + STUCK, exit=True, file=self._stacks)

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            if time.monotonic() > self._deadline:
                self._end()

    def _end(self) -> NoReturn:
        self._log.write(f"No step for {self._timeout:g} s; this rank is {self._place[1]}, step {self._place[0]}. Stacks:")
        faulthandler.dump_traceback(self._stacks, all_threads=True)
        self.roll_call(f"No step ended within {self._timeout:g} s")
        os._exit(1)  # not sys.exit: the main thread will never come back

    def roll_call(self, what: str) -> None:
        """Tell where this rank is, wait for the others to do so, let the first of those that live say who is late, and end
        those of this host that do not answer: a launcher would wait for them."""
        self._deadline = float("inf")
        faulthandler.dump_traceback_later(LAST_RESORT, exit=True, file=self._stacks)
        step, phase = self._place
        write_json(self._reports[self._world.rank], {"step": step, "phase": phase})
        deadline = time.monotonic() + ROLL_CALL
        while not all(path.exists() for path in self._reports) and time.monotonic() < deadline:
            time.sleep(0.1)
        places = [_read(path) for path in self._reports]
        alive = [rank for rank, place in enumerate(places) if place]
        if self._world.rank == min(alive):
            ranks, sentence = late(places, self._hosts)
            self._tell(f"{what}: {sentence}; see the logs of all ranks in {self._log.path.parent}.", ranks)
        sys.stderr.flush()
        for place, (process, born) in zip(places, self._processes, strict=True):
            if place is None and born and born == _born(process):  # it is of this host, and still the same
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.5)  # before the launcher sees the first one leave and kills the rest, all have written their logs


def _born(process: int) -> str | None:
    """When a process of this host began, in ticks since the host did; None if there is none, or no /proc."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]  # proc(5): field 22
    except OSError:
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def late(places: list[dict[str, Any] | None], hosts: list[str]) -> tuple[list[int], str]:
    """Which ranks a job waits for, and the same in words.

    Args:
        places: for each rank the {"step", "phase"} where it is, None where it does not answer.
        hosts: of each rank.
    """

    def named(ranks: list[int]) -> str:
        return ", ".join(f"rank {rank} of {len(hosts)} on {hosts[rank]}" for rank in ranks)

    silent = [rank for rank, place in enumerate(places) if place is None]
    if silent:
        return silent, f"{named(silent)} {'does' if len(silent) == 1 else 'do'} not answer"
    progress = [(place["step"], PHASES.index(place["phase"])) for place in places if place]
    step, phase = min(progress)
    where = f"{PHASES[phase]}, step {step}"
    last = [rank for rank, done in enumerate(progress) if done == (step, phase)]
    if len(last) == len(hosts):
        return last, f"all ranks are in the same place ({where})"
    return last, f"{named(last)} {'is' if len(last) == 1 else 'are'} late ({where})"
