"""What a type checker says of programs that use shardtune."""

import subprocess
import sys
from pathlib import Path

import shardtune
from tests.launching import ENVIRONMENT


def check_types(tmp_path: Path, code: str) -> list[str]:
    """What mypy says of a user's program, line by line, with the types that it knows of an installed package."""
    program = tmp_path / "program.py"
    program.write_text(code)
    source = Path(shardtune.__file__).parents[1]
    flags = ["--strict", "--follow-imports=silent", "--hide-error-context", f"--cache-dir={tmp_path / 'cache'}"]
    flags += ["--config-file=", "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *flags, str(program)],
        env={**ENVIRONMENT, "MYPYPATH": str(source)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [line.partition(": ")[2] for line in done.stdout.splitlines()]
