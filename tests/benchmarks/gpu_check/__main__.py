"""Measure what only a GPU can show, in parts of which none hides another: launch/gpu_check.sh.

Each part is a process with a limit. After each the file is written anew, so that Ctrl-C leaves what was measured. A machine
without GPUs does the same on its cores, with small images and few steps, which tests the check itself.

The status is 0 if every part is ok, 1 if one failed, timed out or had no time left, and 130 after Ctrl-C.
"""

import argparse
import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shardtune.runtime.files import write_json
from tests.benchmarks.gpu_check.parts import ENVIRONMENT, list_parts
from tests.benchmarks.gpu_check.runner import Part, run
from tests.benchmarks.gpu_check.table import efficiency, render

LEAST_SECONDS = 3.0  # with which it is worthwhile to start a part
INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"), help="the file to write (gpu_check.json)")
    parser.add_argument("--seconds", type=float, default=570, help="that all parts may take together (570)")
    parser.add_argument("--small", action="store_true", help="75 pixels, few steps: the default where there is no GPU")
    parser.add_argument("--table", type=Path, metavar="FILE", help="only print what such a file holds, as Markdown")
    options = parser.parse_args()
    if options.table:
        sys.stdout.write(render(json.loads(options.table.read_text())))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # batch systems end jobs by it
    try:
        report = check(
            options.out,
            options.seconds,
            ENVIRONMENT,
            lambda gpus: list_parts(gpus, small=options.small or not gpus),
        )
    except KeyboardInterrupt:
        sys.stdout.write(f"Stopped; {options.out} has the parts above.\n")
        return INTERRUPTED
    sys.stdout.write(f"\n{render(report)}\nAll this is in {options.out}.\n")
    return int(any(entry["status"] != "ok" for entry in report["parts"].values()))


def check(out: Path, seconds: float, first: Part, others: Callable[[int], Iterable[Part]]) -> dict[str, Any]:
    """Run the first part, which counts the GPUs, and then the others for that number; returns what is then in `out`."""
    report: dict[str, Any] = {"version": 1, "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "parts": {}}
    end = time.monotonic() + seconds

    def take(part: Part) -> None:
        entry = run_within(part, part.share * seconds, end)
        report["parts"][part.name] = {"command": shlex.join(part.command), **entry}
        report["efficiency"] = efficiency(report)
        write_json(out, report)
        line = f"{part.name:60} {entry['status']:12} {entry['seconds']:5.0f} s  {(entry.get('errors') or [''])[-1]}"
        sys.stdout.write(line.rstrip() + "\n")
        sys.stdout.flush()

    take(first)
    found = report["parts"][first.name]["result"] or {}
    for part in others(found.get("gpus", 0)):
        take(part)
    return report


def run_within(part: Part, seconds: float, end: float) -> dict[str, Any]:
    """The entry of a part that is given `seconds`, but none after the monotonic clock shows `end`."""
    left = end - time.monotonic()
    if left < LEAST_SECONDS:
        return {"status": "no time left", "seconds": 0.0, "result": None}
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        return run(part, min(seconds, left), Path(folder))


if __name__ == "__main__":
    sys.exit(main())
