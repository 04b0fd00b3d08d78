"""A command as a person types it, in a process of its own."""

import subprocess
import sys

from tests.launching import ENVIRONMENT


def shardtune(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shardtune", *map(str, arguments)],
        env={**ENVIRONMENT, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
