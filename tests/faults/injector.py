"""Faults in the file system, made by a library that is loaded into the processes under test."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Injector:
    """See inject.c, which `preloaded` is made of."""

    preloaded: Path

    @staticmethod
    def compile(directory: Path) -> "Injector":
        library = directory / "inject.so"
        source = Path(__file__).with_name("inject.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return Injector(library)

    def environment(
        self, below: Path, log: Path, *, at: int | None = None, error: int = 0, rank: int | None = None
    ) -> dict[str, str]:
        """Variables for a command: log calls on paths below a directory, and fail call number `at` of a rank with `error`.

        Without `rank` that is of each rank. A negative `error` is a signal that the process gets, at 0 it waits for one.
        """
        values = {"BELOW": below, "LOG": log, "AT": at, "ERRNO": error, "RANK": rank}
        named = {f"FAULTS_{name}": str(value) for name, value in values.items() if value is not None}
        return {**named, "LD_PRELOAD": str(self.preloaded)}

    def slow(self, directory: Path, microseconds: int) -> dict[str, str]:
        """Variables for a command: to open a file below `directory`, or ask for its status, takes so much longer."""
        return {"FAULTS_SLOW": str(directory), "FAULTS_DELAY": str(microseconds), "LD_PRELOAD": str(self.preloaded)}


def calls(log: Path) -> list[str]:
    """The calls that change files, "call path" each: those that are numbered."""
    return [line for line in _lines(log) if not line.startswith("read ")]


def reads(log: Path) -> list[str]:
    """Paths that were opened for reading only, as often as they were."""
    return [line.removeprefix("read ") for line in _lines(log) if line.startswith("read ")]


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
