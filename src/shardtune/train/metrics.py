"""metrics.jsonl: what a run measured, one JSON object a line, for programs and for the report."""

import json
from pathlib import Path


def append(path: Path, values: dict[str, float]) -> None:
    """Add one line; a crash can cut off the last line, never an earlier one."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")
