"""The process that owns a lease, as written into the lease, and whether it still runs."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from shardtune.runtime.processes import read_status

OWNER_NAME = "owner.json"
VERSION = 1  # of owner.json


@dataclass(frozen=True)
class Owner:
    """The process that owns a lease. The fields are those of owner.json.

    Attributes:
        process: its number.
        started: its start time by the clock of its machine, because another process may get the same number; empty if unknown.
        host: the name of its host.
        machine: identifies the machine, and the container on it; empty if unknown.
    """

    process: int
    started: str
    host: str
    machine: str
    version: int = VERSION

    @staticmethod
    def this_process() -> "Owner":
        process = os.getpid()
        return Owner(process, _start_time(process) or "", socket.gethostname(), _machine_id())

    @staticmethod
    def load(folder: Path) -> "Owner | None":
        """The owner whose folder this is; None if its file is missing, damaged or of another version."""
        try:
            owner = Owner(**json.loads((folder / OWNER_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        types = [type(field) for field in asdict(owner).values()]
        return owner if owner.version == VERSION and types == [int, str, str, str, int] else None

    def to_json(self) -> str:
        """The content of owner.json."""
        return json.dumps(asdict(self))

    @property
    def is_running(self) -> bool | None:
        """Whether it still runs; None if this process cannot see that: it is on another machine, or hidden."""
        if not self.machine or (self.host, self.machine) != (socket.gethostname(), _machine_id()):
            return None
        start_time = _start_time(self.process)
        return None if start_time is None else start_time == self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def _start_time(process: int) -> str | None:
    """The start time of a process of this machine; empty if it does not run, None if it is hidden."""
    status = read_status(process)
    if status is not None:
        return "" if status.state in "ZX" else status.start_time  # a dead process stays visible until its parent waits for it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return None


def _machine_id() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
