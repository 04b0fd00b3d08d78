"""Python processes that have nothing of shardtune: what those have to whom an export is given."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.launching import ENVIRONMENT

BARE = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONPATH"}
END = """
print(json.dumps(result))
assert not [name for name in sys.modules if name.partition(".")[0] in {forbidden!r}], sorted(sys.modules)
"""


def compute(code: str, folder: Path, *, forbidden: tuple[str, ...] = (), python: str = sys.executable, **values: Any) -> Any:
    """Run `code` in `folder`, with `values` (JSON) as its variables; returns what it leaves as `result`.

    Args:
        forbidden: packages that it must not have imported, beside shardtune.
    """
    begin = "import json, sys\nglobals().update(json.load(sys.stdin))\n"
    done = run_python(begin + code + END.format(forbidden=("shardtune", *forbidden)), folder, python, json.dumps(values))
    return json.loads(done.splitlines()[-1])


def run_python(code: str, folder: Path, python: str = sys.executable, stdin: str = "") -> str:
    """What `code` prints; the test fails if it fails."""
    done = subprocess.run(
        [python, "-c", code], cwd=folder, env=BARE, input=stdin, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
