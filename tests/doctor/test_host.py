"""What the doctor learns from commands that it runs, and from a directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from shardtune.doctor.finding import ProbeResult
from shardtune.doctor.host import main_error_line, measure_disk, run_probe

TRACEBACK = """\
Traceback (most recent call last):
  File "<string>", line 2, in <module>
shardtune.errors.WorldError: The launcher started 2 processes but mpi sees 1: use another.
-----------
mpirun detected that one or more processes exited
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (TRACEBACK, "WorldError: The launcher started 2 processes but mpi sees 1: use another."),
        ("-----\n  mpirun has detected it.\n\nmore", "mpirun has detected it."),
        ("ModuleNotFoundError: No module named 'horovod'", "ModuleNotFoundError: No module named 'horovod'"),
        ("", ""),
    ],
)
def test_the_main_error_line(output: str, expected: str) -> None:
    assert main_error_line(output) == expected


def test_the_result_of_a_command() -> None:
    assert run_probe("how", [sys.executable, "-c", "print(3)"]) == ProbeResult("how", "3")
    assert run_probe("how", [sys.executable, "-c", "import sys; sys.exit(3)"]) == ProbeResult("how", "status 3", "failed")
    assert run_probe("how", [sys.executable, "-c", "1/0"]) == ProbeResult(
        "how", "ZeroDivisionError: division by zero", "failed"
    )
    assert run_probe("how", ["/nowhere"]) == ProbeResult("how", "/nowhere cannot be run (No such file or directory)", "failed")


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("/bin/python: No module named pip", "no pip"),
        ("-----\nmpirun has detected an attempt to run as root.\n", "root refused"),
        ("anything else", "failed"),
    ],
)
def test_the_status_of_a_failure_is_read_from_its_output(output: str, status: str) -> None:
    assert run_probe("how", [sys.executable, "-c", f"import sys; sys.exit({output!r})"]).status == status


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    child = f"import pathlib, time; time.sleep(3); pathlib.Path({str(tmp_path / 'lived')!r}).touch()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert run_probe("how", [sys.executable, "-c", parent], seconds=1) == ProbeResult("how", "no answer in 1 s", "timed out")
    subprocess.run(["sleep", "3"], check=True)
    assert not (tmp_path / "lived").exists()


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    finding = measure_disk(tmp_path / "nowhere")
    assert not finding.ok
    assert finding.found == f"{tmp_path}/nowhere: No such file or directory"
    assert measure_disk(tmp_path).found.startswith(f"{tmp_path}: writes ")
    assert not list(tmp_path.iterdir())
