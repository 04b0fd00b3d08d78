"""How a run ends before its time, and what it leaves for scripts: a request to stop, and `outcome.json`."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Literal

from shardtune.runtime.files import write_json
from shardtune.runtime.outcome import OUTCOME_NAME, Outcome, read_outcome
from shardtune.train.config import parse_duration


class StopRequest:
    """Whether this rank was asked to stop; a step adds up the requests of all ranks.

    Args:
        time_limit: as in `--time_limit`, counted from now.
    """

    def __init__(self, time_limit: str | None) -> None:
        self._limit = time_limit
        self._deadline = time.monotonic() + parse_duration(time_limit) if time_limit else float("inf")
        self._signal: signal.Signals | None = None

    def record_signal(self, number: signal.Signals) -> None:
        """Take a signal as a request to stop."""
        self._signal = number

    @property
    def is_made(self) -> bool:
        """Whether something asked to stop."""
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """What asked to stop, or None."""
        if self._signal:
            return f"signal {self._signal.name}"
        return f"the time limit of {self._limit}" if time.monotonic() > self._deadline else None


class OutcomeFile:
    """`outcome.json`: {"outcome", "attempt", "step", …}, the truth about a run for scripts, whatever a launcher returns.

    "running" in a job that is gone means that it was killed; rank 0 is "pid" on "host". Rank 0 writes it. Another rank writes
    only why it failed.

    Args:
        attempt: number of this start of the run, from 1.
    """

    def __init__(self, directory: Path, rank: int, attempt: int) -> None:
        self._directory, self._rank, self._attempt = directory, rank, attempt
        self._rank_path = directory / "logs" / f"outcome-{rank}.json"  # two ranks may fail at once
        self._has_started = False

    def mark_running(self, step: int) -> None:
        """Write that a job runs. For all ranks to call: a start that is refused before leaves the file as it is."""
        self._has_started = True
        self._write_on_root("running", step=step, pid=os.getpid(), host=socket.gethostname())

    def mark_ended(self, outcome: Literal["finished", "stopped"], **fields: Any) -> None:
        """Write how the job ended. For all ranks to call."""
        self._write_on_root(outcome, **fields)

    def mark_failed(self, **fields: Any) -> None:
        """Write that this rank failed, unless the run did not start, or another rank failed before: that is the cause."""
        if self._has_started and not self.has_failed:
            self._write("failed", **fields)

    @property
    def has_failed(self) -> bool:
        """Whether a rank has written that this attempt failed."""
        written = read_outcome(self._directory)
        return written.get("outcome") == "failed" and written.get("attempt") == self._attempt

    def _write_on_root(self, outcome: Outcome, **fields: Any) -> None:
        if self._rank == 0:
            self._write(outcome, **fields)

    def _write(self, outcome: Outcome, **fields: Any) -> None:
        self._rank_path.parent.mkdir(exist_ok=True)
        write_json(self._rank_path, {"outcome": outcome, "attempt": self._attempt, **fields})
        self._rank_path.replace(self._directory / OUTCOME_NAME)
