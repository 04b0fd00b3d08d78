"""One part of the check: a process with a time limit, of which nothing is left afterwards."""

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MARK = "GPU_CHECK_PART"  # an environment variable, by which every process that a part has started is found
ERROR_LINES = 20
KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Part:
    """A command whose stdout ends in a JSON object.

    Attributes:
        share: of the seconds of the whole check, at most.
        environment: variables that are added to those of this process.
    """

    name: str
    command: tuple[str, ...]
    share: float
    environment: Mapping[str, str] = field(default_factory=dict)


def run(part: Part, seconds: float, folder: Path) -> dict[str, Any]:
    """Run a part, and end it with all that it has started: launchers start workers in sessions of their own.

    Args:
        seconds: after which it is killed.
        folder: an empty one, for its output and temporary files.

    Returns:
        its `status` (ok, failed, timed out) and `seconds`; `result`, the last JSON object that it has printed, also where it
        did not end well; where it failed, the last lines of its stderr as `errors`.
    """
    mark = secrets.token_hex(8)
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, **part.environment, MARK: mark, "TMPDIR": str(folder)}
    began = time.monotonic()
    process: subprocess.Popen[bytes] | None = None
    try:
        with (folder / "stdout").open("wb") as output, (folder / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                part.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        code = process.wait(seconds)
        status, why = ("failed", f"exit status {code}") if code else ("ok", "")
    except subprocess.TimeoutExpired:
        status, why = "timed out", f"no end after {seconds:.0f} s"
    except OSError as error:
        status, why = "failed", str(error)
    finally:
        _kill_marked(mark)
        if process:
            process.poll()
    entry = {"status": status, "seconds": round(time.monotonic() - began, 1), "result": last_json(_read(folder / "stdout"))}
    return entry if status == "ok" else {**entry, "errors": [*_read(folder / "stderr").splitlines()[-ERROR_LINES:], why]}


def _kill_marked(mark: str) -> None:
    """Kill every process with this mark, and those that they start meanwhile."""
    end = time.monotonic() + KILL_SECONDS
    while (processes := _marked(mark)) and time.monotonic() < end:  # a GPU that hangs may hold a process forever
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def last_json(output: str) -> Any:
    """The last JSON object that is a line of `output`, perhaps behind the mark of a launcher; None if there is none."""
    for line in reversed(re.findall(r"^(?:\[[\d,]+\]<stdout>: ?)?(\{.*\})$", output, re.MULTILINE)):
        with suppress(ValueError):
            return json.loads(line)
    return None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
