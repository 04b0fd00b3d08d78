from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shardtune.errors import DataError
from shardtune.inspect.augmented import EPOCHS, EXAMPLES, GAP_PIXELS, HEADING_PIXELS, IMAGE_PIXELS, preview
from shardtune.inspect.config import InspectConfig
from shardtune.runtime.world import World
from tests.input.shards import write


def test_the_sheet_shows_each_example_as_evaluation_and_as_training_see_it(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sheet.png"
    preview(InspectConfig(small_data, path, augmented=True), World())
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("RGB"))
    step, columns = IMAGE_PIXELS + GAP_PIXELS, 1 + 2 * EPOCHS
    tiles = pixels[HEADING_PIXELS:].reshape(EXAMPLES, step, columns, step, 3).swapaxes(1, 2)[:, :, :IMAGE_PIXELS, :IMAGE_PIXELS]
    assert len({tile.tobytes() for row in tiles for tile in row}) == EXAMPLES * (1 + 2 * EPOCHS)
    means = tiles.mean((2, 3)).astype(int)  # of each colour: light stays near what evaluation sees
    assert np.abs(means[:, 1 : 1 + EPOCHS] - means[:, :1]).max() < 80
    assert str(path) in capsys.readouterr().out
    preview(InspectConfig(small_data, tmp_path / "again.png", augmented=True), World())
    assert (tmp_path / "again.png").read_bytes() == path.read_bytes()


def test_fewer_examples_than_rows_are_shown_once(tmp_path: Path) -> None:
    preview(InspectConfig(write(tmp_path, [2, 1]), tmp_path / "sheet.png", augmented=True), World())
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == HEADING_PIXELS + 3 * (IMAGE_PIXELS + GAP_PIXELS)


def test_a_data_set_without_training_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path} has no training examples\. Choose"):
        preview(InspectConfig(write(tmp_path, [1], "validation"), tmp_path / "sheet.png", augmented=True), World())
