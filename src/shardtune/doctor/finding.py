"""The results of the doctor's probes, and its conclusions."""

import json
from dataclasses import dataclass
from typing import Any, Literal

ProbeStatus = Literal["ok", "failed", "timed out", "no pip", "root refused"]


@dataclass(frozen=True)
class ProbeResult:
    """The result of a command.

    Attributes:
        source: the command or call, for people.
        text: its output if it succeeded, else why it did not.
        status: failed: for any other reason than those that follow. timed out: it was killed. no pip: this Python has none.
            root refused: mpirun does not run as root.
    """

    source: str
    text: str
    status: ProbeStatus = "ok"

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON object in the last line of the output; empty if the command failed."""
        return json.loads(self.text.splitlines()[-1]) if self.ok else {}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: what was checked.
        found: what was found.
        source: the command or call that found it.
        advice: what to do. If it is empty the line is green, else it is red.
    """

    topic: str
    found: str
    source: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        return not self.advice
