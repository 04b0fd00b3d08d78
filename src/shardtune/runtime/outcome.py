"""`outcome.json` of a run directory: how the run ended. `train` writes it; `supervise` and scripts read it."""

import json
from pathlib import Path
from typing import Any, Literal

OUTCOME_NAME = "outcome.json"
Outcome = Literal["running", "finished", "stopped", "failed"]


def read_outcome(directory: Path) -> dict[str, Any]:
    """The content of `outcome.json`; empty where there is none or it cannot be read."""
    try:
        value = dict(json.loads((directory / OUTCOME_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value.get("attempt", 0), int) else {}
