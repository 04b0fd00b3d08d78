"""What the doctor's questions get for answers, and what it concludes."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What a sub-process said: `text` is its stdout if all went `well`, else why it did not."""

    how: str
    text: str
    well: bool = True

    @property
    def facts(self) -> dict[str, Any]:
        """The JSON object in the last line; empty if all did not go well."""
        return json.loads(self.text.splitlines()[-1]) if self.well else {}


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        topic: what was looked at.
        found: what was found.
        how: the command or call that found it.
        advice: what to do; empty where all is well (green), else the line is red.
    """

    topic: str
    found: str
    how: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        return not self.advice
