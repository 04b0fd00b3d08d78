"""`shardtune verify` on one process and on several: the same findings in the same order."""

import shutil
from pathlib import Path

import pytest

from tests.launching import run, shardtune, sys


def findings(directory: Path, ranks: int) -> list[str]:
    """The lines that name what is wrong, printed by rank 0 alone."""
    command = [sys.executable, "-m", "shardtune", "verify", str(directory)]
    done = run(command, launcher="mpirun", ranks=ranks, timeout=120)
    assert done.returncode == 1
    assert done.stdout.count("shardtune: ") == 1
    return [line for line in done.stdout.splitlines() if line.startswith(("train-", "validation-", "labels.txt"))]


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_finds_the_same(small_data: Path, tmp_path: Path, ranks: int) -> None:
    assert shardtune("verify", small_data, launcher="mpirun", ranks=ranks).splitlines()[-1] == (
        "Verified 81 examples in 6 shards: all as written."
    )
    copy = shutil.copytree(small_data, tmp_path / "copy")
    for name in ("train-00000-of-00004", "train-00002-of-00004", "validation-00001-of-00002"):
        content = bytearray((copy / name).read_bytes())
        content[100::2000] = bytes(byte ^ 1 for byte in content[100::2000])
        (copy / name).write_bytes(content)
    (copy / "train-00003-of-00004").unlink()
    (copy / "labels.txt").unlink()
    alone = findings(copy, 1)
    assert len(alone) > 10
    assert findings(copy, ranks) == alone
