"""End a process that makes no progress, or that is asked to stop and cannot, whatever its main thread is blocked in."""

import faulthandler
import os
import select
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from shardtune.errors import StoppedError
from shardtune.runtime.interrupts import Interrupts
from shardtune.runtime.rollcall import Member, Order, Report, RollCall, State, find_late_ranks
from shardtune.runtime.timelimit import time_limit

ROLL_CALL_NAME = "roll-call"
STARTUP_SECONDS = 300.0  # more than the timeout for imports, from a cold network disk, and for ranks to find each other
COMPILE_SECONDS = 300.0  # more than the timeout for what TensorFlow traces and compiles the first time
POLL_SECONDS = 1.0  # at most, between two looks at the main thread
GIL_SECONDS = 3.0  # after which the guard's thread cannot run either: the process then ends without it
EXIT_SECONDS = 8.0  # in which the process can print which rank is late
LOG_SECONDS = 0.5  # in which all ranks write their logs: the launcher kills the others when the first one exits

ReportLate = Callable[[str, list[int]], None]


class SilentRanks(NamedTuple):
    """The ranks that do not answer after an operation over all ranks has failed.

    Attributes:
        ranks: their numbers.
        sentence: the same as text for people.
        is_reporter: whether this rank is the one that prints it.
    """

    ranks: list[int]
    sentence: str
    is_reporter: bool


class Guard:
    """From `start` to `stop`, a thread watches for signals and, if it ends hangs, the main thread, which sends heartbeats.

    Attributes:
        interrupts: what signals do.
        name: of this process, for people.
        knows_ranks: whether `register_ranks` has been called.
    """

    def __init__(self, *, ends_hangs: bool = True) -> None:
        self.interrupts, self.name, self.knows_ranks = Interrupts(), "this process", False
        self._timeout, self._allowed_seconds, self._deadline = float("inf"), float("inf"), float("inf")
        self._ends_hangs, self._collectives = ends_hangs, 0
        self._order: Order = (0, 0, 0)
        self._position, self._stacks = "starting", 2  # stderr; sys.stderr may be something without a descriptor
        self._roll_call: RollCall | None = None
        self._directory: Path | None = None
        self._report: ReportLate = lambda sentence, _: _print_error(sentence)
        self._relay: Callable[[], object] | None = None
        self._relay_time, self._has_failed = 0.0, False  # has_failed: an operation over all ranks
        self._answers: Mapping[int, Report | None] = {}
        self._is_answered, self._is_stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)
        self._wakeup_file = self._waker = -1  # ends of a pipe

    def start(self) -> None:
        """Watch from now on."""
        self._wakeup_file, self._waker = os.pipe()
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._is_stopped.set()
        if self._thread.is_alive():
            os.close(self._waker)  # ends the thread's wait
            self._thread.join()
            os.close(self._wakeup_file)
            faulthandler.cancel_dump_traceback_later()
        if self._stacks > 2:
            os.close(self._stacks)
            self._stacks = 2
        if self._directory and self._roll_call and self._roll_call.rank == 0:
            self.remove_reports(self._directory)

    def set_timeout(self, timeout: float) -> None:
        """End the process after so many seconds without a heartbeat, from now on."""
        self._timeout = timeout if self._ends_hangs else float("inf")
        self.heartbeat(self._position)
        if self._thread.is_alive():
            self._arm()

    def time_limit(self, sentence: str) -> AbstractContextManager[None]:
        """Around work that may block all threads of Python: print `sentence` and end if it takes longer than the timeout."""
        self.heartbeat("finding the other ranks")
        return time_limit(self._timeout, sentence) if self._timeout < float("inf") else nullcontext()

    def heartbeat(self, position: str, *, step: int = 0, phase: int = 0, compiles: bool = False) -> None:
        """Report progress. For the main thread.

        Args:
            position: what the main thread does now, as text for people.
            step, phase: how far it is: of two ranks, the one with the lower step, then the lower phase, is behind.
            compiles: whether TensorFlow may compile something there, which takes longer.
        """
        self._order, self._position = (self._collectives, step, phase), position
        self._allowed_seconds = self._timeout + (COMPILE_SECONDS if compiles else 0.0)
        now = time.monotonic()
        self._deadline = now + self._allowed_seconds
        if self._relay and now > self._relay_time:
            relay, self._relay = self._relay, None  # the relay sends heartbeats, too
            relay()
            self._relay, self._relay_time = relay, now + self._timeout / 4

    @contextmanager
    def waiting_for_ranks(self) -> Iterator[None]:
        """Around a collective. All ranks call their collectives in the same order."""
        position, (_, step, phase) = self._position, self._order
        self._collectives += 1
        self.heartbeat("waiting for the other ranks", step=step, phase=phase)
        yield
        self.heartbeat(position, step=step, phase=phase)

    @contextmanager
    def relay_heartbeats(self, relay: Callable[[], object]) -> Iterator[None]:
        """Around work for which other ranks wait: heartbeats call `relay` often enough to keep those ranks alive."""
        self._relay, self._relay_time = relay, time.monotonic() + self._timeout / 4
        try:
            yield
        finally:
            self._relay = None

    def register_ranks(self, job: str, rank: int, members: Sequence[Member]) -> None:
        """Make the ranks known. Until `use_roll_call`, only those of this host can be asked for their positions.

        Args:
            job: a name that no other job has.
        """
        self.knows_ranks = True
        on_this_host = [number for number, member in enumerate(members) if member.host == members[rank].host]
        directory = Path(tempfile.gettempdir()) / f"shardtune-{job}"
        self._roll_call = RollCall(directory, job, rank, members, on_this_host)

    def remove_reports(self, directory: Path) -> None:
        """Remove the files of roll calls in `directory`."""
        shutil.rmtree(directory / ROLL_CALL_NAME, ignore_errors=True)

    def use_roll_call(self, directory: Path) -> None:
        """Ask all ranks through `directory` from now on, which all of them see. For all ranks, before one of them asks."""
        if self._thread.is_alive() and self._roll_call:
            self._directory = directory
            self._roll_call = self._roll_call.in_directory(directory / ROLL_CALL_NAME)

    def report_to(self, stacks: Path, report: ReportLate) -> None:
        """Set where stacks are written, and what prints which ranks are late.

        Args:
            report: called on one rank, with a sentence and the numbers of the late ranks.
        """
        self._report, self._stacks = report, os.open(stacks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)  # until it stops

    def find_silent_ranks(self) -> SilentRanks:
        """After an operation over all ranks has failed: find the ranks that do not answer, and kill those of this host."""
        roll_call = self._roll_call
        if roll_call is None or not self._thread.is_alive():
            return SilentRanks([], "", True)
        self._has_failed = True
        while not self._is_answered.wait(0.1):
            pass
        silent = [rank for rank, report in self._answers.items() if report is None]
        reporter = min(rank for rank, report in self._answers.items() if report and report.state == "failed")
        roll_call.kill(silent)
        return SilentRanks(silent, find_late_ranks(self._answers, roll_call.hosts)[1], roll_call.rank == reporter)

    def _watch(self) -> None:
        while not self._is_stopped.is_set():
            files = [self._wakeup_file, *self.interrupts.wakeup_files]
            select.select(files, [], [], min(POLL_SECONDS, self._timeout / 10))
            if self.interrupts.must_exit():
                _print_error(f"A signal has stopped {self.name}, which was {self._position}. What is saved is kept.")
                os._exit(StoppedError.exit_status)
            self._arm()
            self._look()

    def _arm(self) -> None:
        """Let the process end although C code in the main thread blocks all threads of Python, this one included."""
        if self._deadline < float("inf"):
            seconds = max(0.0, self._deadline - time.monotonic())
            faulthandler.dump_traceback_later(seconds + POLL_SECONDS + GIL_SECONDS, exit=True, file=self._stacks)

    def _look(self) -> None:
        """End the process if its main thread is late, and so are those of all other ranks that can be asked."""
        is_late, roll_call = time.monotonic() > self._deadline, self._roll_call
        if roll_call is None:
            if is_late:
                self._write_stacks()
                self._report_late(f"{self.name} is {self._position}", [])
                self._exit()
            return
        state: State = "failed" if self._has_failed else "stuck" if is_late else "working"
        if state == "working":
            is_called = roll_call.is_called
            roll_call.withdraw()
            if is_called:
                roll_call.report(state, self._order, self._position)
            return
        roll_call.call()
        is_written = roll_call.report(state, self._order, self._position)
        own = {roll_call.rank: Report(state, self._order, self._position, 0)}
        answers = roll_call.answers() if is_written else own
        if answers is None:
            return
        if self._has_failed:
            self._answers = answers
            self._is_answered.set()
        elif not any(report and report.state == "working" for report in answers.values()):
            self._end_job(roll_call, answers)

    def _end_job(self, roll_call: RollCall, answers: Mapping[int, Report | None]) -> NoReturn:
        """End this rank and the silent ones of this host. The lowest rank that answers reports which are late."""
        faulthandler.dump_traceback_later(EXIT_SECONDS, exit=True, file=self._stacks)
        roll_call.report("ending", self._order, self._position)
        late, sentence = find_late_ranks(answers, roll_call.hosts)
        self._write_stacks()
        if roll_call.rank == min(rank for rank, report in answers.items() if report):
            self._report_late(sentence, late)
        roll_call.kill([rank for rank, report in answers.items() if report is None])
        self._exit()

    def _write_stacks(self) -> None:
        text = f"No progress for {self._allowed_seconds:g} s; this rank is {self._position}. Stacks:\n"
        with suppress(OSError):  # nobody reads stderr
            os.write(self._stacks, text.encode())
        faulthandler.dump_traceback(self._stacks, all_threads=True)

    def _report_late(self, sentence: str, ranks: list[int]) -> None:
        self._report(f"No progress for {self._allowed_seconds:g} s: {sentence}", ranks)

    def _exit(self) -> NoReturn:
        time.sleep(LOG_SECONDS)
        os._exit(1)  # not sys.exit: the main thread is blocked


def _print_error(sentence: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it, or it is closed: the process ends all the same
        print(f"shardtune: {sentence}", file=sys.stderr, flush=True)
