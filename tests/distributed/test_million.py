import re
from pathlib import Path

import pytest

from tests.launching import launch


@pytest.mark.exhaustive
@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(("launcher", "ranks"), [("alone", 1), ("mpirun", 4)])
def test_a_million_images_take_little_memory_and_time(launcher: str, ranks: int, hashed: bool, tmp_path: Path) -> None:
    cache = [str(tmp_path / "digests")] if hashed else []
    said = launch([str(Path(__file__).with_name("million.py")), *cache], launcher=launcher, ranks=ranks)
    told = {int(number[0]): number[1:] for number in re.findall(r"rank (\d): (\d+) images, (\d+) MB, ([\d.]+) s", said)}
    images, megabytes, seconds = ([float(told[rank][column]) for rank in range(ranks)] for column in range(3))
    assert set(images) == {1_000_000}
    assert megabytes[0] <= 300
    assert all(less < megabytes[0] / 2 for less in megabytes[1:])
    assert seconds[0] <= 15
