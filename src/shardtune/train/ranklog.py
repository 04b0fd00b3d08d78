"""`logs/rank-<n>.log`: what each rank did, to find out why it failed."""

import time
from pathlib import Path

from shardtune.runtime.files import filename_in_errors


class RankLog:
    """The log of one rank of the run in `directory`; each line begins with the time of day."""

    def __init__(self, directory: Path, rank: int) -> None:
        self.path = directory / "logs" / f"rank-{rank}.log"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, text: str) -> None:
        """Add a line."""
        with filename_in_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def tail(self, lines: int) -> list[str]:
        """The last `lines` lines; empty where there is no log."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - 200 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
