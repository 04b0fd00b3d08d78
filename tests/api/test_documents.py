"""The programs of docs/python-api.md."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.users import check_types
from tests.docs.markdown import ROOT, blocks
from tests.launching import ENVIRONMENT

WHOLE, EXPORT, *LOOPS = (text for language, text in blocks(ROOT / "docs" / "python-api.md") if language == "python")


@pytest.mark.parametrize("program", [WHOLE, EXPORT], ids=["whole", "export"])
def test_the_whole_job_has_the_right_types(program: str, tmp_path: Path) -> None:
    assert check_types(tmp_path, program) == []  # it would download weights


@pytest.mark.parametrize(("program", "last"), [*zip(LOOPS, ["19 ", "Epoch 2/2", "mean colour ["], strict=True)])
def test_loops_run(program: str, last: str, small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(small_data)
    assert len([line for line in program.splitlines() if line and "import" not in line]) <= 20
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert any(line.startswith(last) for line in done.stdout.splitlines()), done.stdout
