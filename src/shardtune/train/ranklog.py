"""`logs/rank-<n>.log`: what each rank did, for the day it fails."""

import time
from pathlib import Path


class RankLog:
    """Adds lines with the time of day to the log of one rank."""

    def __init__(self, directory: Path, rank: int) -> None:
        self.path = directory / "logs" / f"rank-{rank}.log"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def tail(self, lines: int) -> list[str]:
        """The last `lines` of it."""
        with self.path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - 200 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
