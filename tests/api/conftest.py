"""The notebook of the documents, which does the whole job with the real network, is run once for all tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.launching import ENVIRONMENT


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which its cells were run, one after another in one process, and what they said."""
    directory = tmp_path_factory.mktemp("notebook")
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    program = directory / "notebook.py"
    program.write_text("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    done = subprocess.run(
        [sys.executable, program.name], cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory, done.stdout + done.stderr
