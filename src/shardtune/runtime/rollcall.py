"""Find the rank that a job waits for. Ranks report their position through files, because the network may be what is broken.

Network file systems show a new file to other hosts late, but the content of an existing file as soon as it is opened. So every
file of a roll call is created before it, and only contents change.
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

from shardtune.runtime.processes import read_status

ANSWER_SECONDS = 10.0  # in which a rank that can answer has answered, on a busy machine and over a network
State = Literal["working", "stuck", "failed", "ending"]
Order = tuple[int, int, int]


@dataclass(frozen=True)
class Member:
    """A process of the job. `start_time` is None if it is unknown."""

    host: str
    process: int
    start_time: str | None

    @staticmethod
    def this_process() -> "Member":
        status = read_status(os.getpid())
        return Member(socket.gethostname(), os.getpid(), status.start_time if status else None)


@dataclass(frozen=True)
class Report:
    """The position of a rank, as it reports it.

    Attributes:
        state: working: its main thread makes progress. stuck: it does not. failed: an operation over all ranks failed there.
            ending: it exits because of this roll call.
        order: how far the rank is, to compare ranks: the one with the lower order is behind.
        position: the same as text for people.
        count: the number of this report, so that a dead rank differs from one that reports the same again.
    """

    state: State
    order: Order
    position: str
    count: int

    @property
    def is_last(self) -> bool:
        """Whether no other report follows from this rank."""
        return self.state in ("failed", "ending")


class RollCall:
    """One rank's part in the roll calls of a job.

    Args:
        directory: of the files; made when it is needed.
        job: a name that no other job has.
        members: all ranks.
        ranks: those that use the same directory.
    """

    def __init__(self, directory: Path, job: str, rank: int, members: Sequence[Member], ranks: Collection[int]) -> None:
        self.rank, self.hosts = rank, [member.host for member in members]
        self._job, self._members, self._ranks = job, members, ranks
        self._call_file = directory / f"{job}-call"
        self._report_files = {number: directory / f"{job}-{number}.json" for number in ranks}
        self._count = 0
        self._call_time: float | None = None
        self._old_reports: dict[int, str] = {}  # at the time of this rank's call: perhaps of an earlier roll call
        self._latest: dict[int, tuple[Report, float]] = {}  # the last report of each rank, and when it came

    def in_directory(self, directory: Path) -> "RollCall":
        """The same for all ranks, through a directory that all of them see. Creates the files of this rank."""
        roll_call = RollCall(directory, self._job, self.rank, self._members, range(len(self._members)))
        roll_call.create_files()
        return roll_call

    def create_files(self) -> None:
        """Create the files of this rank."""
        with suppress(OSError):
            self._call_file.parent.mkdir(parents=True, exist_ok=True)
            for path in (self._call_file, self._report_files[self.rank]):
                path.open("a").close()

    @property
    def is_called(self) -> bool:
        """Whether any rank has called."""
        return bool(_read(self._call_file))

    def call(self) -> None:
        """Ask all ranks for their positions."""
        if self._call_time is None:
            self._call_time = time.monotonic()
            self._old_reports = {rank: _read(path) for rank, path in self._report_files.items()}
        _write(self._call_file, "called")

    def withdraw(self) -> None:
        """Take back this rank's call, if there is one: this rank makes progress again."""
        if self._call_time is not None:
            self._call_time = None
            self._latest.clear()
            _write(self._call_file, "")

    def report(self, state: State, order: Order, position: str) -> bool:
        """Write this rank's position. To be repeated while any rank calls. Returns whether it could be written."""
        self._count += 1
        return _write(self._report_files[self.rank], json.dumps(asdict(Report(state, order, position, self._count))))

    def answers(self) -> Mapping[int, Report | None] | None:
        """For a rank that has called: the report of each rank, None for a silent one. None while a rank may still answer."""
        for rank, path in self._report_files.items():
            self._read_report(rank, path)
        answers: dict[int, Report | None] = {}
        for rank in self._ranks:
            report, last_time = self._latest.get(rank, (None, self._call_time or 0.0))
            is_silent = time.monotonic() - last_time > ANSWER_SECONDS or self._is_down(rank)
            if report is None and not is_silent:
                return None
            answers[rank] = report if report and (report.is_last or not is_silent) else None
        return answers

    def _read_report(self, rank: int, path: Path) -> None:
        text = _read(path)
        try:
            report = Report(**json.loads(text))
        except (ValueError, TypeError):
            return  # not written yet, or half written
        before = self._latest.get(rank)
        if report.is_last or (text != self._old_reports.get(rank) and (before is None or before[0].count != report.count)):
            self._latest[rank] = report, time.monotonic()

    def _is_down(self, rank: int) -> bool:
        """Whether a process of this host cannot answer, because it has ended or is stopped."""
        member = self._members[rank]
        if member.host != self.hosts[self.rank] or member.start_time is None:
            return False
        status = read_status(member.process)
        return status is None or status.start_time != member.start_time or status.state in "TZX"

    def kill(self, ranks: Collection[int]) -> None:
        """Kill those processes of this host for which the launcher would wait."""
        for rank in ranks:
            member = self._members[rank]
            status = read_status(member.process)
            if member.host == self.hosts[self.rank] and status and status.start_time == member.start_time:
                with suppress(OSError):
                    os.kill(member.process, signal.SIGKILL)


def find_late_ranks(answers: Mapping[int, Report | None], hosts: Sequence[str]) -> tuple[list[int], str]:
    """The ranks that a job waits for, and a sentence that names them.

    Args:
        answers: by rank; None for a silent one. Ranks that were not asked are missing.
        hosts: of each rank.
    """
    silent = sorted(rank for rank, report in answers.items() if report is None)
    if silent:
        return silent, f"{_names(silent, hosts)} {'does' if len(silent) == 1 else 'do'} not answer"
    reports = {rank: report for rank, report in answers.items() if report}
    first = min(reports.values(), key=lambda report: tuple(report.order))
    last = sorted(rank for rank, report in reports.items() if tuple(report.order) == tuple(first.order))
    if len(last) < len(reports):
        return last, f"{_names(last, hosts)} {'is' if len(last) == 1 else 'are'} late ({first.position})"
    if len(last) == len(hosts):
        return last, f"all ranks are at the same position ({first.position})"
    host = hosts[last[0]]
    if len(last) < hosts.count(host):  # this rank cannot write
        return [], f"{_names(last, hosts)} is {first.position}, the others could not be asked"
    others = ", ".join(sorted(set(hosts) - {host}))
    return [], f"all ranks of {host} are at the same position ({first.position}), those of {others} were not asked"


def _names(ranks: Sequence[int], hosts: Sequence[str]) -> str:
    return ", ".join(f"rank {rank} of {len(hosts)} on {hosts[rank]}" for rank in ranks)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> bool:
    """Overwrite a file in place, so that other hosts see it. Returns whether that was possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError:
        return False
    return True
