"""What the tests share: images and data sets for disturbed builds."""

import numpy as np
import pytest

from tests.faults.reference import Reference
from tests.pictures import encoded, picture, plant


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """12 images in 3 + 1 shards, some held out, so that digests are cached too; a process needs a fraction of a second."""
    directory = tmp_path_factory.mktemp("small")
    images = plant(directory / "images", per_class=4)
    return Reference.of(images, directory / "data", train_shards=3, validation_shards=1, validation_examples=3)


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """200 images in 12 shards, which take time: large and CMYK, so encoded anew."""
    directory = tmp_path_factory.mktemp("slow")
    jpeg = encoded(picture(np.random.default_rng(0), 1200, 900).convert("CMYK"))
    for label in ("a", "b"):
        (directory / "images" / label).mkdir(parents=True)
        for number in range(100):
            # What follows the end of a JPEG makes files differ, and not pictures.
            (directory / "images" / label / f"{number:03d}.jpg").write_bytes(jpeg + f"{label}{number}".encode())
    return Reference.of(directory / "images", directory / "data", train_shards=12)
