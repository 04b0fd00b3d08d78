import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.dataset.columns import LABEL_COLUMN_NAME
from shardtune.dataset.manifest import Manifest
from shardtune.errors import DataError
from shardtune.input.reader import RecordReader
from shardtune.inspect import summary
from shardtune.inspect.config import InspectConfig
from shardtune.inspect.summary import (
    CELL_PIXELS,
    EXAMPLES_PER_CLASS,
    HEADING_PIXELS,
    MARGIN_PIXELS,
    ROW_PIXELS,
    contact_sheet,
    inspect,
)
from shardtune.runtime.world import World
from tests.old_data import before_label_column
from tests.pictures import CLASSES, encoded, picture, plant
from tests.records import contents, fields, records


def printed_words(directory: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line that `inspect` prints."""
    capsys.readouterr()
    inspect(InspectConfig(directory, directory / "contact.png"), World())
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def cell(sheet: Image.Image, label: int, column: int) -> Image.Image:
    """The part of the sheet for one example; labels from 1, columns from 0."""
    top = (label - 1) * ROW_PIXELS + HEADING_PIXELS
    return sheet.crop((column * CELL_PIXELS, top, (column + 1) * CELL_PIXELS, top + CELL_PIXELS))


def with_picture(jpeg: bytes) -> Image.Image:
    """The part of the sheet for one example, made in another way: a small picture is pasted as it is."""
    expected = Image.new("RGB", (CELL_PIXELS, CELL_PIXELS), "white")
    expected.paste(Image.open(io.BytesIO(jpeg)))
    return expected


def test_counts_sizes_and_provenance(small_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = plant(tmp_path / "images", per_class=4)
    (images / "blue" / "blue-00.jpg").write_bytes(b"")
    (images / "green" / "green-00.jpg").write_bytes(encoded(picture(np.random.default_rng(0)), "PNG"))
    config = BuildConfig(
        images,
        output_directory=tmp_path / "data",
        validation_directory=small_images / "validation",
        train_shards=2,
        validation_shards=1,
        max_rejects=1,
        seed=5,
    )
    manifest = build(config, World())
    lines = printed_words(tmp_path / "data", capsys)
    sizes = [shard.bytes for shard in manifest.splits["train"]]
    assert f"train 11 2 {sum(sizes) / 1000:.1f} kB {min(sizes) / 1000:.1f} kB".split() in [line[:7] for line in lines]
    assert ["validation", "21", "1"] in [line[:3] for line in lines]
    assert [line for line in lines if line and line[0] in ("1", "2", "3")] == [
        ["1", "blue", "3", "7"],
        ["2", "green", "4", "7"],
        ["3", "red", "4", "7"],
    ]
    for line in (
        "largest / smallest 1.33 1.00",
        "seed 5",
        "scanned 33",
        "written 32",
        "reencoded png 1",
        "rejected empty 1",
        f"{tmp_path}/data/contact.png shows up to 8 training examples of each of 3 classes.",
    ):
        assert line.split() in lines


def test_a_file_gets_whole_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "long " * 40 + "[bold]:smile:\x1b[31m"
    plant(tmp_path / "images", per_class=1, classes=("a", name))
    build(BuildConfig(tmp_path / "images", output_directory=tmp_path / "data", train_shards=1), World())
    inspect(InspectConfig(tmp_path / "data", tmp_path / "contact.png"), World())
    output = capsys.readouterr().out
    assert f"{name[:-5]}\\x1b[31m" in output
    assert "\x1b" not in output


def test_the_sheet_shows_the_first_examples_of_each_class(small_data: Path, tmp_path: Path) -> None:
    inspect(InspectConfig(small_data, tmp_path / "contact.png"), World())
    file = Image.open(tmp_path / "contact.png")
    sheet = file.convert("RGB")
    assert (file.format, file.size) == ("PNG", (EXAMPLES_PER_CLASS * CELL_PIXELS, 3 * ROW_PIXELS))
    examples = [fields(record) for record in records(small_data, "train")]
    for label in range(1, len(CLASSES) + 1):
        jpegs = [example["image/encoded"] for example in examples if example["image/class/label"] == label]
        assert len(jpegs) > EXAMPLES_PER_CLASS
        for column, jpeg in enumerate(jpegs[:EXAMPLES_PER_CLASS]):
            assert cell(sheet, label, column) == with_picture(jpeg)
    headings = [
        sheet.crop((0, y, EXAMPLES_PER_CLASS * CELL_PIXELS, y + HEADING_PIXELS)) for y in range(0, sheet.height, ROW_PIXELS)
    ]
    assert all(heading.convert("L").getextrema() == (0, 255) for heading in headings)
    assert len({heading.tobytes() for heading in headings}) == 3
    assert contact_sheet(small_data, Manifest.load(small_data)) == sheet


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the records that are read."""
    numbers: list[int] = []
    real = RecordReader.read
    monkeypatch.setattr(RecordReader, "read", lambda reader, indices: numbers.extend(indices) or real(reader, indices))
    return numbers


@pytest.mark.parametrize("shown", [1, 3])
def test_only_the_examples_on_the_sheet_are_read(
    small_data: Path, monkeypatch: pytest.MonkeyPatch, read: list[int], shown: int
) -> None:
    monkeypatch.setattr(summary, "MAX_CLASSES", shown)
    contact_sheet(small_data, Manifest.load(small_data))
    labels = [fields(record)["image/class/label"] for record in records(small_data, "train")]
    of_class = [[index for index, label in enumerate(labels) if label == wanted] for wanted in range(1, shown + 1)]
    assert read == [index for indices in of_class for index in indices[:EXAMPLES_PER_CLASS]]


def test_without_a_label_column_the_sheet_is_the_same(small_data: Path, tmp_path: Path, read: list[int]) -> None:
    old = Path(shutil.copytree(small_data, tmp_path / "old"))
    before_label_column(old)
    assert contact_sheet(old, Manifest.load(old)) == contact_sheet(small_data, Manifest.load(small_data))
    assert read[: read.index(0, 1)] == list(range(read.index(0, 1)))  # the search, before the first example is read again


def test_a_damaged_label_column_is_not_used(small_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(small_data, tmp_path / "data"))
    content = (data / LABEL_COLUMN_NAME).read_bytes()
    for damaged in (content[:-4], content[4:] + content[:4]):
        (data / LABEL_COLUMN_NAME).write_bytes(damaged)
        with pytest.raises(DataError, match=r"labels\.bin is missing or does not belong to dataset\.json"):
            contact_sheet(data, Manifest.load(data))


def test_a_large_picture_is_made_small_and_a_small_class_leaves_room(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "images" / "a").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "images" / "a" / f"{number}.jpg").write_bytes(encoded(picture(generator, 900, 300)))
    build(BuildConfig(tmp_path / "images", output_directory=tmp_path / "data", train_shards=2), World())
    sheet = contact_sheet(tmp_path / "data", Manifest.load(tmp_path / "data"))
    for column in range(EXAMPLES_PER_CLASS):
        inked = Image.eval(cell(sheet, 1, column), lambda value: 255 - value).getbbox()
        assert inked == ((0, 0, CELL_PIXELS - MARGIN_PIXELS, round((CELL_PIXELS - MARGIN_PIXELS) / 3)) if column < 3 else None)


def test_the_sheet_ends_after_its_last_class(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = contact_sheet(small_data, Manifest.load(small_data))
    monkeypatch.setattr(summary, "MAX_CLASSES", 2)
    inspect(InspectConfig(small_data, tmp_path / "contact.png"), World())
    sheet = Image.open(tmp_path / "contact.png").convert("RGB")
    assert sheet == whole.crop((0, 0, EXAMPLES_PER_CLASS * CELL_PIXELS, 2 * ROW_PIXELS))
    assert capsys.readouterr().out.endswith("examples of each of the first 2 of 3 classes.\n")


def test_a_damaged_data_set_is_not_inspected(small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist\. Run shardtune build first"):
        inspect(InspectConfig(tmp_path, tmp_path / "contact.png"), World())
    for name, content in contents(small_data).items():
        if name != "train-00002-of-00004":
            (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"train-00002-of-00004 is not the shard of \d+ bytes .*: it is missing"):
        inspect(InspectConfig(tmp_path, tmp_path / "contact.png"), World())
    assert not (tmp_path / "contact.png").exists()


def test_a_picture_that_cannot_be_written_names_the_flag(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path / "file" / "a.png", "Not a directory"), (tmp_path / "no" / "a.png", "No such file.*")):
        with pytest.raises(DataError, match=rf"cannot be written to {path} \({reason}\)\. Choose another file with --output\."):
            inspect(InspectConfig(small_data, path), World())
