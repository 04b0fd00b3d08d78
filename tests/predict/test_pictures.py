import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Manifest
from shardtune.images.pixels import ImageOptions
from shardtune.input.pipeline import InputOptions, evaluation_batches
from shardtune.input.reader import RecordReader
from shardtune.predict.listing import Item
from shardtune.predict.pictures import PictureReader
from shardtune.runtime.world import World

SIDE = 75


@pytest.mark.parametrize("options", [{}, {"max_side": 30, "quality": 60}])
def test_pictures_have_the_bits_of_evaluation(small_images: Path, tmp_path: Path, options: dict[str, int]) -> None:
    build(BuildConfig(small_images / "validation", output_directory=tmp_path, train_shards=2, **options), World())
    manifest, records = open_data_set(tmp_path, World())
    reader = RecordReader(tmp_path, manifest, "train", records["train"])
    batches = evaluation_batches(reader, World(), InputOptions(SIDE, 2), batch_size=21, examples=21)
    [(_, images, _)] = list(batches)
    pictures = PictureReader(SIDE, ImageOptions(**options), "train")
    for number, image in enumerate(images.numpy()):
        example = pictures.read(Item(str(tmp_path), number))
        file = pictures.read(Item(str(small_images / "validation" / example.file)))
        assert np.array_equal(example.pixels, image)
        assert np.array_equal(file.pixels, image)


def test_a_damaged_record_is_an_error_of_its_own(small_data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_data, tmp_path / "data")
    with (copy / Manifest.load(copy).splits["validation"][0].name).open("r+b") as shard:
        shard.seek(500)
        shard.write(b"\0\0\0\0")
    pictures = PictureReader(SIDE, ImageOptions(), "validation")
    first, second = (pictures.read(Item(str(copy), number)) for number in (0, 1))
    assert first.pixels is None
    assert first.error.startswith("corrupt: Corrupt record 0 of its split, at byte 0 of ")
    assert second.pixels is not None


@pytest.mark.parametrize("name", ["nothing.jpg", "a\0b.jpg", "x" * 5000, os.fsdecode(b"\xff.jpg")])
def test_a_path_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path, name: str) -> None:
    picture = PictureReader(SIDE, ImageOptions(), "train").read(Item(f"{tmp_path}/{name}"))
    assert picture.file == f"{tmp_path}/{name}"
    assert picture.error.startswith("unreadable: ")
