import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shardtune.inspect.config import VerifyConfig
from shardtune.inspect.verify import verify
from shardtune.runtime.world import World
from tests.launching import launch
from tests.pictures import encoded, picture

CLASSES, PER_CLASS = 1000, 1000


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A million JPEGs, of which no two are identical."""
    directory = tmp_path_factory.mktemp("million")
    jpeg = encoded(picture(np.random.default_rng(0), 8, 8))
    for label in range(CLASSES):
        folder = directory / f"class-{label:03d}"
        folder.mkdir()
        for number in range(PER_CLASS):
            # What follows the end of a JPEG makes files differ, and not pictures.
            (folder / f"a_name_of_usual_length-{number:08d}.jpg").write_bytes(jpeg + b"%d %d" % (label, number))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(("launcher", "ranks"), [("alone", 1), ("mpirun", 4)])
def test_a_million_images_take_little_memory(million: Path, launcher: str, ranks: int, hashed: bool, tmp_path: Path) -> None:
    body = [str(Path(__file__).with_name("million.py")), str(million), str(tmp_path / "data"), *["hashed"][: int(hashed)]]
    output = launch(body, launcher=launcher, ranks=ranks, timeout=3000)
    by_rank = {int(number[0]): number[1:] for number in re.findall(r"rank (\d): (\d+) images, (\d+) MB", output)}
    images, megabytes = ([int(by_rank[rank][column]) for rank in range(ranks)] for column in range(2))
    assert set(images) == {CLASSES * PER_CLASS}
    kept = 256 if hashed else 0  # content of images, on each rank
    assert megabytes[0] <= 400 + kept
    assert all(less < megabytes[0] / 2 + kept for less in megabytes[1:])
    verify(VerifyConfig(tmp_path / "data"), World())
    shutil.rmtree(tmp_path / "data")
