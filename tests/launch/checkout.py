"""The scripts beside a .venv of their own, whose `shardtune train` trains a small network in place of Inception v3."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARDTUNE = """\
#!/bin/sh
export PYTHONPATH={root}/src:{root}
if [ "$1" = train ] && [ {network} = small ]; then
  shift
  exec {python} -m tests.distributed.train_body "$@"
fi
exec {python} -m shardtune "$@"
"""


def lay_out(folder: Path, network: str) -> Path:
    """Copy launch/ and slurm/ into an empty folder, and return it.

    Args:
        network: small, or inception for the real one.
    """
    for name in ("launch", "slurm"):
        shutil.copytree(ROOT / name, folder / name)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
    (programs / "shardtune").write_text(SHARDTUNE.format(root=ROOT, network=network, python=sys.executable))
    (programs / "shardtune").chmod(0o755)
    return folder
