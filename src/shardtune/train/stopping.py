"""How a run ends before its time, and what it leaves behind for scripts: a request to stop, and `outcome.json`."""

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Literal

from shardtune.runtime.files import write_json
from shardtune.train.config import parse_duration

OUTCOME_NAME = "outcome.json"
Outcome = Literal["running", "finished", "stopped", "failed"]


class StopRequest:
    """Whether this rank was asked to stop; the step adds up the answers of all ranks.

    Args:
        time_limit: as in `--time_limit`, counted from now.
    """

    def __init__(self, time_limit: str | None) -> None:
        self._limit = time_limit
        self._deadline = time.monotonic() + parse_duration(time_limit) if time_limit else float("inf")
        self._signal: signal.Signals | None = None

    def note(self, number: signal.Signals) -> None:
        """A signal has come."""
        self._signal = number

    @property
    def reason(self) -> str | None:
        """What asked for it, or None."""
        if self._signal:
            return f"signal {self._signal.name}"
        return f"the time limit of {self._limit}" if time.monotonic() > self._deadline else None


class OutcomeFile:
    """`outcome.json`: {"outcome", "attempt", "step", …}, the truth about a run for scripts, whatever a launcher returns.

    "running" in a job that is gone means that it was killed; rank 0 is "pid" on "host". Rank 0 writes it;
    another rank only what made it fail.
    """

    def __init__(self, directory: Path, rank: int) -> None:
        self._path = directory / OUTCOME_NAME
        self._own = directory / "logs" / f"outcome-{rank}.json"  # two ranks may fail at once
        self._rank, self._begun = rank, False
        self.attempt = self.read().get("attempt", 0)

    def read(self) -> dict[str, Any]:
        """What is written there; nothing in place of what cannot be read."""
        try:
            value = dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return {}
        return value if isinstance(value.get("attempt", 0), int) else {}

    def begin(self, step: int) -> None:
        """Write that a job runs. For all ranks: a start that is refused before leaves what was written."""
        self._begun = True
        if self._rank == 0:
            self.write("running", step=step, pid=os.getpid(), host=socket.gethostname())

    def write(self, outcome: Outcome, **more: Any) -> None:
        """Replace it at once."""
        self._own.parent.mkdir(exist_ok=True)
        write_json(self._own, {"outcome": outcome, "attempt": self.attempt, **more})
        self._own.replace(self._path)

    @property
    def has_failed(self) -> bool:
        """Whether a rank has written that this attempt failed."""
        written = self.read()
        return written.get("outcome") == "failed" and written.get("attempt") == self.attempt

    def fail(self, **more: Any) -> None:
        """Write that the run failed, unless it never began, or another rank has told: what comes later is a consequence."""
        if self._begun and not self.has_failed:
            self.write("failed", **more)
