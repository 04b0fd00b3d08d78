"""A machine whose clock, launchers, hosts and signals follow a schedule, in place of `shardtune.supervise.machine`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGUSR1, Signals
from typing import NoReturn

from shardtune.supervise.hosts import Host

HOST, PID = "node-1", 4711
MAX_SECONDS = 10_000.0  # a supervisor that never ends fails there


@dataclass(frozen=True)
class Run:
    """What one start of the launcher does. Times are seconds after the start; None: never.

    Attributes:
        begins: when training begins, with attempt + 1 in outcome.json.
        outcome: what is written at the end of the run: finished, stopped, failed, or running where nobody could write.
        ends: when the run ends.
        exits: when the launcher exits.
        status: its exit status.
        group_exits: when the last process of its group is gone, if later.
        stops_on_request: whether SIGUSR1 stops the run, which then exits 2 s later with status 1, as horovodrun does.
        ignores: signals that do not end the group.
    """

    begins: float | None = 5.0
    outcome: str = "finished"
    ends: float | None = 20.0
    exits: float | None = 21.0
    status: int = 0
    group_exits: float = 0.0
    stops_on_request: bool = True
    ignores: tuple[Signals, ...] = ()


FINISHES = Run()
LOSES_A_WORKER = Run(outcome="running", ends=None, status=1)
FAILS = Run(outcome="failed", status=1)
IS_REFUSED = Run(begins=None, ends=None, exits=3.0, status=2)
IS_ENDLESS = Run(ends=None, exits=None)


class ScheduledProcess:
    def __init__(self, machine: "ScheduledMachine", run: Run) -> None:
        self._machine, self._run, self._started = machine, run, machine.now()
        self._outcome, self._ends, self._exits, self._status = run.outcome, run.ends, run.exits, run.status
        self._attempt = machine.read().get("attempt", 0)

    def advance(self) -> None:
        """Write what the run has written by now."""
        elapsed = self._machine.now() - self._started
        if self._exits is not None:
            elapsed = min(elapsed, self._exits)
        if self._run.begins is None or elapsed < self._run.begins:
            return
        fields: dict[str, object] = {"attempt": self._attempt + 1, "outcome": "running", "host": HOST, "pid": PID}
        if self._ends is not None and elapsed >= self._ends:
            fields["outcome"] = self._outcome
            if self._outcome == "failed":
                fields |= {"rank": 1, "error": "Training diverged at step 7."}
        self._machine.write(fields)

    def poll(self) -> int | None:
        elapsed = self._machine.now() - self._started
        return None if self._exits is None or elapsed < self._exits else self._status

    def group_exists(self) -> bool:
        elapsed = self._machine.now() - self._started
        return self.poll() is None or elapsed < self._run.group_exits

    def send_signal(self, number: Signals) -> None:
        self._machine.record(f"{number.name} to the launcher")
        self.stop(number)

    def signal_group(self, number: Signals) -> None:
        self._machine.record(f"{number.name} to the group")
        if number not in self._run.ignores and self.poll() is None:
            self._exits, self._status = self._machine.now() - self._started, 128 + number

    def stop(self, number: Signals) -> None:
        """The run gets a signal."""
        if number == SIGUSR1 and self._run.stops_on_request:
            elapsed = self._machine.now() - self._started
            self._outcome, self._ends, self._exits, self._status = "stopped", elapsed + 1, elapsed + 2, 1


@dataclass
class ScheduledMachine:
    """See `shardtune.supervise.machine.Machine`.

    Attributes:
        train_dir: where outcome.json is written.
        runs: what each start of the launcher does; one more start is an error.
        signals: for each, its second after the first start.
        reachable: names of hosts that answer, from the first check to the last.
        events: what the supervisor did to processes, with the second.
        started: the command lines.
        lines: what it printed.
    """

    train_dir: Path
    runs: Sequence[Run]
    signals: Sequence[tuple[float, Signals]] = ()
    reachable: Sequence[str] = ()
    gpus: int = 0
    cores: int = 2
    events: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    _now: float = 0.0
    _taken: int = 0
    _process: ScheduledProcess | None = None

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now = round(self._now + seconds, 3)
        if self._now > MAX_SECONDS:
            raise AssertionError(f"the supervisor does not end: {self.lines}, {self.events}")
        if self._process:
            self._process.advance()

    def take_signals(self) -> list[Signals]:
        come = [number for at, number in self.signals if at <= self._now]
        new, self._taken = come[self._taken :], len(come)
        return new

    def start(self, words: Sequence[str], environment: Mapping[str, str]) -> ScheduledProcess:
        self.started.append(" ".join(words))
        self._process = ScheduledProcess(self, self.runs[len(self.started) - 1])
        return self._process

    def replace(self, words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        self.started.append(" ".join(words))
        raise SystemExit(0)

    def find_program(self, name: str) -> str:
        return f"/venv/bin/{name}"

    def count_gpus(self) -> int:
        return self.gpus

    def count_cores(self) -> int:
        return self.cores

    def is_local(self, host: str) -> bool:
        return host == "a"

    def keep_reachable(self, hosts: Sequence[Host]) -> tuple[Host, ...]:
        return tuple(host for host in hosts if host.name in self.reachable)

    def stop_rank(self, host: str, pid: int) -> None:
        self.record(f"SIGUSR1 to {pid} on {host}")
        if self._process:
            self._process.stop(SIGUSR1)

    def requeue(self, job: str) -> int:
        self.record(f"requeue {job}")
        return 0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def show(self, words: Sequence[str]) -> None:
        self.lines.append("+ " + " ".join(words))

    def record(self, event: str) -> None:
        self.events.append(f"{self._now:.0f} s: {event}")

    def read(self) -> dict[str, int]:
        path = self.train_dir / "outcome.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def write(self, fields: Mapping[str, object]) -> None:
        (self.train_dir / "outcome.json").write_text(json.dumps(fields))
