"""Ends a process that no longer gets on, or that is told to stop and cannot, whatever its main thread is blocked in."""

import faulthandler
import os
import select
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, NoReturn

from shardtune.errors import StoppedError
from shardtune.runtime.interrupts import Interrupts
from shardtune.runtime.rollcall import Member, Report, RollCall, State, find_late_ranks
from shardtune.runtime.timelimit import time_limit

ROLL_CALL_NAME = "roll-call"
STARTUP_SECONDS = (
    300.0  # seconds more for imports, on a busy machine or from a cold network disk, and for ranks to find each other
)
COMPILE_SECONDS = 300.0  # more for what is traced and compiled the first time
POLL_SECONDS = 1.0  # at most
GIL_SECONDS = 3.0  # after which the thread that looks on cannot run either, and the process ends without it
EXIT_SECONDS = 8.0  # that it has to say who is late
LOG_SECONDS = 0.5  # in which all ranks have written their logs: a launcher kills the rest when the first one leaves

Tell = Callable[[str, list[int]], None]


class Guard:
    """Looks on from `start` to `stop`; the main thread says where it is by `heartbeat`, often. It does nothing before `start`.

    Attributes:
        interrupts: what signals do.
        name: of this process, for people.
        knows_ranks: whether other ranks are known.
    """

    def __init__(self) -> None:
        self.interrupts, self.name, self.knows_ranks = Interrupts(), "this process", False
        self._timeout, self._allowed, self._deadline = float("inf"), float("inf"), float("inf")
        self._collectives, self._order, self._words = 0, (0, 0, 0), "starting"
        self._rank, self._members, self._job = 0, [Member.this()], ""
        self._roll: RollCall | None = None
        self._directory: Path | None = None
        self._tell: Tell = lambda sentence, _: _say(sentence)
        self._stacks: IO[str] = sys.stderr
        self._relay: Callable[[], object] | None = None
        self._relay_at = 0.0
        self._asks, self._answered = False, threading.Event()
        self._answers: Mapping[int, Report | None] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look on no longer."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        if self._directory and self._rank == 0:
            self.remove_reports(self._directory)

    def set_timeout(self, timeout: float) -> None:
        """From now on the process ends after so many seconds without a beat."""
        self._timeout = timeout
        self.heartbeat(self._words)
        if self._thread.is_alive():
            self._arm()

    def time_limit(self, sentence: str) -> AbstractContextManager[None]:
        """Around work that may keep Python's lock while it waits: it must end within one timeout."""
        self.heartbeat("finding the other ranks")
        return time_limit(self._timeout, sentence) if self._timeout < float("inf") else nullcontext()

    def heartbeat(self, words: str, *, step: int = 0, phase: int = 0, compiles: bool = False) -> None:
        """The main thread comes to what `words` say.

        Args:
            step, phase: how far that is; of two ranks the lower step, then the lower phase, is behind.
            compiles: something may be compiled there.
        """
        self._order, self._words = (self._collectives, step, phase), words
        self._allowed = self._timeout + (COMPILE_SECONDS if compiles else 0.0)
        now = time.monotonic()
        self._deadline = now + self._allowed
        if self._relay and now > self._relay_at:
            relay, self._relay = self._relay, None  # it beats, too
            relay()
            self._relay, self._relay_at = relay, now + self._timeout / 4

    @contextmanager
    def waiting_for_ranks(self) -> Iterator[None]:
        """Around a collective, which all ranks come to in the same order."""
        words, (_, step, phase) = self._words, self._order
        self._collectives += 1
        self.heartbeat("waiting for the other ranks", step=step, phase=phase)
        yield
        self.heartbeat(words, step=step, phase=phase)

    @contextmanager
    def relay_heartbeats(self, relay: Callable[[], object]) -> Iterator[None]:
        """Around work for which others wait: as long as it beats, `relay` is called often enough to let them know."""
        self._relay, self._relay_at = relay, time.monotonic() + self._timeout / 4
        try:
            yield
        finally:
            self._relay = None

    def register_ranks(self, job: str, rank: int, members: Sequence[Member]) -> None:
        """Other ranks are known. Until `use_roll_call`, those of this host can be asked where they are."""
        self.knows_ranks = True
        self._job, self._rank, self._members = job, rank, list(members)
        here = [number for number, member in enumerate(members) if member.host == members[rank].host]
        directory = Path(tempfile.gettempdir()) / f"shardtune-{job}"
        self._roll = RollCall(directory, job, rank, members, here)

    def remove_reports(self, directory: Path) -> None:
        """Remove what roll calls left in a directory."""
        shutil.rmtree(directory / ROLL_CALL_NAME, ignore_errors=True)

    def use_roll_call(self, directory: Path) -> None:
        """Ask all ranks through this directory from now on, which they share; all must come here before one asks."""
        if not self._thread.is_alive():
            return
        self._directory = directory
        self._roll = RollCall(directory / ROLL_CALL_NAME, self._job, self._rank, self._members, range(len(self._members)))
        self._roll.prepare()

    def report_to(self, stacks: Path, tell: Tell) -> None:
        """Where stacks go, and what gets the sentence that says who is late, and their ranks, on one rank."""
        self._stacks = stacks.open("a", encoding="utf-8")  # as long as the process lives
        self._tell = tell

    def find_silent_ranks(self) -> tuple[list[int], str, bool]:
        """An operation over all ranks has failed: which ranks do not answer, the same in words, and whether it is this rank
        that says it. Ends those of this host that do not."""
        if self._roll is None or not self._thread.is_alive():
            return [], "", True
        self._asks = True
        while not self._answered.wait(0.1):
            pass
        silent = [rank for rank, report in self._answers.items() if report is None]
        speaks = self._rank == min(rank for rank, report in self._answers.items() if report and report.state == "failed")
        self._roll.kill(silent)
        return silent, find_late_ranks(self._answers, [member.host for member in self._members])[1], speaks

    def _watch(self) -> None:
        while not self._stopped.is_set():
            every = min(POLL_SECONDS, self._timeout / 10)
            select.select(self.interrupts.waits_on, [], [], every)
            if self.interrupts.is_overdue():
                self._leave()
            self._arm()
            self._look()

    def _arm(self) -> None:
        """C code that keeps Python's lock keeps the thread that looks on from running; what this starts runs without it."""
        if self._deadline < float("inf"):
            rest = max(0.0, self._deadline - time.monotonic())
            faulthandler.dump_traceback_later(rest + POLL_SECONDS + GIL_SECONDS, exit=True, file=self._stacks)

    def _look(self) -> None:
        stuck, roll = time.monotonic() > self._deadline, self._roll
        if roll is None:
            if stuck:
                self._end(f"{self.name} is {self._words}")
            return
        if not stuck and not self._asks and not roll.called:
            roll.withdraw()
            return
        state: State = "failed" if self._asks else "stuck" if stuck else "working"
        if state == "working":
            roll.withdraw()
            roll.report(state, self._order, self._words)
            return
        roll.call()
        mine = Report(state, self._order, self._words, 0)
        readable = roll.report(state, self._order, self._words)
        answers = roll.answers() if readable else {self._rank: mine}
        if answers is None:
            return
        if self._asks:
            self._answers = answers
            self._answered.set()
        elif not any(report and report.state == "working" for report in answers.values()):
            self._end_all(roll, answers)

    def _end_all(self, roll: RollCall, answers: Mapping[int, Report | None]) -> NoReturn:
        """Let the first of the ranks that answer say who is late, and end those of this host that do not."""
        faulthandler.dump_traceback_later(EXIT_SECONDS, exit=True, file=self._stacks)
        roll.report("ending", self._order, self._words)
        ranks, sentence = find_late_ranks(answers, [member.host for member in self._members])
        speaks = self._rank == min(rank for rank, report in answers.items() if report)
        self._end(sentence, ranks, speaks=speaks, then=lambda: roll.kill([r for r, report in answers.items() if not report]))

    def _end(
        self, sentence: str, ranks: list[int] | None = None, *, speaks: bool = True, then: Callable[[], None] = lambda: None
    ) -> NoReturn:
        self._stacks.write(f"No progress for {self._allowed:g} s; this rank is {self._words}. Stacks:\n")
        self._stacks.flush()
        faulthandler.dump_traceback(self._stacks, all_threads=True)
        if speaks:
            self._tell(f"No progress for {self._allowed:g} s: {sentence}", ranks or [])
        then()
        time.sleep(LOG_SECONDS)
        os._exit(1)  # not sys.exit: the main thread will never come back

    def _leave(self) -> NoReturn:
        _say(f"A signal has stopped {self.name}, which was {self._words}: what is saved stays.")
        os._exit(StoppedError.exit_status)


def _say(sentence: str) -> None:
    sys.stderr.write(f"shardtune: {sentence}\n")
    sys.stderr.flush()
