"""Builds during which a call of the file system fails once, for their images or for what they write."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.mounts import Fault, Mounter, Options, failed_call, log_of
from tests.faults.reference import Reference
from tests.launching import run
from tests.records import contents

ERRORS = ["EIO", "ESTALE", "EINTR", "ENOSPC"]
RANDOM = r"[0-9a-f]{16}"  # in names of temporary files and of leases
SIMILAR = rf"{RANDOM}|(?<=train-)\d{{5}}|(?<=/images/)\w+/\w+|(?<=tfevents\.)\S+"  # parts of paths that tell nothing
AWKWARD = {"sync_directory": "EINVAL", "short": 4000}  # what these jobs must cope with all the time


def places(log: str) -> dict[tuple[str, str], int]:
    """The calls in a log, by kind and pattern of the path, and how often they were made; of looks at the status, a guess."""
    counts: dict[tuple[str, str], int] = {}
    for line in log.splitlines():
        kind, _, path = line.partition(" ")
        pattern = re.sub(SIMILAR, "*", path)
        for each in (kind, "status"):
            counts[each, pattern] = counts.get((each, pattern), 0) + 1
    return counts


def require_said(done: subprocess.CompletedProcess[str], root: Path, fault: Fault) -> str:
    """The command went well, or said in one sentence what went wrong and where. Returns a line about it."""
    call = failed_call(root)
    complaints = [line for line in done.stdout.splitlines() if line.startswith("shardtune: ")]
    said = f"{fault}: {call} -> {done.returncode} {complaints}"
    assert (done.returncode, len(complaints)) in ((0, 0), (1, 1)), f"{said}\n{done.stdout}"
    assert not {"Traceback", "Unexpected"} & set(done.stdout.split()), f"{said}\n{done.stdout}"
    assert call or fault.number > 1, said
    assert not complaints or str(root) in complaints[0], said
    return said


def mounted_build(small: Reference, mount: Mounter, directory: Path, fault: Fault | None) -> tuple[Reference, Path]:
    """A build whose images and output are on a mount with a fault; and the mount."""
    shutil.copytree(small.images, directory / "backing" / "images")
    root = mount(directory / "backing", Options("works", fail=fault, **AWKWARD))
    return Reference(root / "images", small.options, small.files), root


def require_survived(small: Reference, mount: Mounter, directory: Path, fault: Fault) -> str:
    """A build during which a call fails goes well or says so, and the next one goes on. Returns what was said."""
    directory.mkdir(exist_ok=True)
    build, root = mounted_build(small, mount, directory, fault)
    done = run(build.command(root / "data"), launcher="alone", ranks=1, timeout=60)
    said = require_said(done, root, fault)
    backing = directory / "backing" / "data"
    if backing.exists():
        small.finished_shards(backing)
    again = run(build.command(root / "data"), launcher="alone", ranks=1, timeout=60)
    assert again.returncode == 0, f"{said}\n{again.stdout}"
    assert contents(backing) == small.files, said
    return said


@pytest.mark.parametrize(
    "fault",
    [
        Fault("rename", "/data/train-*", 1, "ESTALE"),
        Fault("read", "/images/*", 1, "EIO"),
        Fault("fsync", "*.dataset.json.*", 1, "ENOSPC"),
    ],
    ids=str,
)
def test_a_build_survives_a_call_that_fails_once(
    small: Reference, hostile_directory: Mounter, tmp_path: Path, fault: Fault
) -> None:
    require_survived(small, hostile_directory, tmp_path, fault)


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("error", ERRORS)
def test_a_build_survives_each_call_that_fails_once(
    small: Reference, hostile_directory: Mounter, tmp_path: Path, error: str
) -> None:
    (tmp_path / "undisturbed").mkdir()
    build, root = mounted_build(small, hostile_directory, tmp_path / "undisturbed", None)
    done = run(build.command(root / "data"), launcher="alone", ranks=1, timeout=60)
    assert done.returncode == 0, done.stdout
    failures = []
    for (kind, pattern), count in places(log_of(root).read_text()).items():
        for number in sorted({1, count}):
            fault = Fault(kind, pattern, number, error)
            try:
                print(require_survived(small, hostile_directory, tmp_path / str(fault).replace("/", "_"), fault))
            except AssertionError as problem:
                failures.append(f"{fault}: {problem}")
    assert not failures, "\n".join(failures)
