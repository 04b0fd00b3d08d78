"""The state of processes of this machine."""

from pathlib import Path
from typing import NamedTuple


class ProcessStatus(NamedTuple):
    """A line of /proc.

    Attributes:
        state: one letter, as proc(5) lists them: T stopped, Z and X dead.
        start_time: in clock ticks since the machine started. A later process with the same number has another one.
    """

    state: str
    start_time: str


def read_status(process: int) -> ProcessStatus | None:
    """The status of a process; None if it has ended, or if /proc does not show it."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessStatus(fields[0], fields[19])  # proc(5): fields 3 and 22
