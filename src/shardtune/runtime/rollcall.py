"""Which rank a job waits for: ranks tell each other where they are through files, which do not need the network that may be
what is broken.

Network file systems show a new file to other hosts late, but what an existing file holds as soon as it is opened. So all
files of a roll call are there before it, and it is their content that changes.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

ANSWER_SECONDS = 10.0  # seconds after which a rank that could answer has answered, on a busy machine and over a network
State = Literal["working", "stuck", "failed", "ending"]
Order = tuple[int, int, int]


@dataclass(frozen=True)
class Member:
    """A process of the job. `start_time` is None where that cannot be told."""

    host: str
    process: int
    start_time: str | None

    @staticmethod
    def this() -> "Member":
        status = _status(os.getpid())
        return Member(socket.gethostname(), os.getpid(), status[1] if status else None)


@dataclass(frozen=True)
class Report:
    """What a rank says of itself.

    Attributes:
        state: working: its main thread gets on. stuck: it does not. failed: an operation over all ranks has failed there.
            ending: it leaves, because of this roll call.
        order: how far it is: of two ranks, the one with the lower order is behind.
        words: the same for people.
        count: grows, so that a rank that has died can be told from one that says the same again.
    """

    state: State
    order: Order
    words: str
    count: int

    @property
    def is_last(self) -> bool:
        """Whether nothing more will come from this rank."""
        return self.state in ("failed", "ending")


class RollCall:
    """One rank's part in the roll calls of a job.

    Args:
        directory: where the files are; made when it is needed.
        job: a name that no other job has.
        members: all ranks.
        seen: ranks that use the same directory.
    """

    def __init__(self, directory: Path, job: str, rank: int, members: Sequence[Member], seen: Collection[int]) -> None:
        self._rank, self._members, self._seen = rank, members, seen
        self._call = directory / f"{job}-call"
        self._reports = {number: directory / f"{job}-{number}.json" for number in seen}
        self._count = 0
        self._asked: float | None = None
        self._first: dict[int, str] = {}  # what was there when this rank asked: perhaps from an earlier roll call
        self._answers: dict[int, tuple[Report, float]] = {}

    def prepare(self) -> None:
        """Make this rank's files."""
        with suppress(OSError):
            self._call.parent.mkdir(parents=True, exist_ok=True)
            for path in (self._call, self._reports[self._rank]):
                path.open("a").close()

    @property
    def called(self) -> bool:
        """Whether a rank has called."""
        return bool(_read(self._call))

    def call(self) -> None:
        """Ask all ranks where they are."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._first = {rank: _read(path) for rank, path in self._reports.items()}
        _write(self._call, "called")

    def withdraw(self) -> None:
        """Ask no longer: this rank gets on."""
        if self._asked is not None:
            self._asked = None
            self._answers.clear()
            _write(self._call, "")

    def report(self, state: State, order: Order, words: str) -> bool:
        """Say where this rank is, again and again while it is asked. Returns whether others can read that."""
        self._count += 1
        return _write(self._reports[self._rank], json.dumps(asdict(Report(state, order, words, self._count))))

    def answers(self) -> Mapping[int, Report | None] | None:
        """What each rank says, None for one that is silent; or None while some may yet answer. For a rank that has called."""
        for rank, path in self._reports.items():
            self._look(rank, path)
        answers: dict[int, Report | None] = {}
        for rank in self._seen:
            report, heard = self._answers.get(rank, (None, self._asked or 0.0))
            lost = time.monotonic() - heard > ANSWER_SECONDS or self._is_down(rank)
            if report is None and not lost:
                return None
            answers[rank] = report if report and (report.is_last or not lost) else None
        return answers

    def _look(self, rank: int, path: Path) -> None:
        text = _read(path)
        try:
            report = Report(**json.loads(text))
        except (ValueError, TypeError):
            return  # not written yet, or about to be
        before = self._answers.get(rank)
        if report.is_last or (text != self._first.get(rank) and (before is None or before[0].count != report.count)):
            self._answers[rank] = report, time.monotonic()

    def _is_down(self, rank: int) -> bool:
        """Whether a process of this host cannot answer: it is gone, or it is stopped."""
        member = self._members[rank]
        if member.host != self._members[self._rank].host or member.start_time is None:
            return False
        status = _status(member.process)
        return status is None or status[1] != member.start_time or status[0] in "TZX"

    def kill(self, ranks: Collection[int]) -> None:
        """End those processes of this host: a launcher would wait for them."""
        for rank in ranks:
            member = self._members[rank]
            status = _status(member.process)
            if member.host == self._members[self._rank].host and status and status[1] == member.start_time:
                with suppress(OSError):
                    os.kill(member.process, signal.SIGKILL)


def find_late_ranks(answers: Mapping[int, Report | None], hosts: Sequence[str]) -> tuple[list[int], str]:
    """Which ranks a job waits for, and the same in words.

    Args:
        answers: by rank; None where it is silent. Ranks that are not asked may be missing.
        hosts: of each rank.
    """
    silent = sorted(rank for rank, report in answers.items() if report is None)
    if silent:
        return silent, f"{_named(silent, hosts)} {'does' if len(silent) == 1 else 'do'} not answer"
    reports = {rank: report for rank, report in answers.items() if report}
    first = min(reports.values(), key=lambda report: tuple(report.order))
    last = sorted(rank for rank, report in reports.items() if tuple(report.order) == tuple(first.order))
    if len(last) < len(reports):
        return last, f"{_named(last, hosts)} {'is' if len(last) == 1 else 'are'} late ({first.words})"
    if len(last) == len(hosts):
        return last, f"all ranks are in the same place ({first.words})"
    others = sorted(set(hosts) - {hosts[rank] for rank in last})
    return (
        [],
        f"all ranks of {hosts[last[0]]} are in the same place ({first.words}), those of {', '.join(others)} were not asked",
    )


def _named(ranks: Sequence[int], hosts: Sequence[str]) -> str:
    return ", ".join(f"rank {rank} of {len(hosts)} on {hosts[rank]}" for rank in ranks)


def _status(process: int) -> tuple[str, str] | None:
    """State of a process of this host, and when it began in ticks since the host did; None if there is none, or no /proc."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return fields[0], fields[19]  # proc(5): fields 3 and 22
    except OSError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> bool:
    """In place, so that other hosts see it; whether that was possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError:
        return False
    return True
