import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from shardtune.images.pixels import ImageOptions
from shardtune.predict import formats
from shardtune.predict.formats import Formatter, Prediction, choose_format
from shardtune.predict.listing import Item
from shardtune.predict.pictures import PictureReader
from tests.docs.outputs import check_shown
from tests.pictures import plant

CLASSES = ["background", "n01440764 tench, Tinca tinca", 'a "rose"\x1b[2J', "漢字"]
NAMES = [
    b"c1\xc2\x9b.jpg",
    b"plain.jpg",
    b"a,b.jpg",
    b'"quoted".jpg',
    b"line\nbreak\r.jpg",
    b"\x1b[2J.jpg",
    b"\xff\xfe.jpg",
    "漢字.jpg".encode(),
]
TOP, PROBABILITIES = (2, 3), (0.1 + 0.2, 1e-17)
PREDICTIONS = [Prediction(os.fsdecode(name), "", TOP, PROBABILITIES) for name in NAMES]
FAILED = Prediction("cut.jpg", "truncated: it ends\nwithin a header")


def lines(chosen: formats.Format, *predictions: Prediction, top_k: int = 2) -> bytes:
    formatter = Formatter(chosen, CLASSES, top_k)
    return formatter.header() + b"".join(map(formatter.rows, predictions))


def test_csv_has_every_name_and_every_digit() -> None:
    text = io.StringIO(os.fsdecode(lines("csv", *PREDICTIONS, FAILED)), newline="")
    header, *rows = csv.reader(text)
    ranked = [f"{name}_{rank}" for rank in (1, 2) for name in ("label", "class", "probability")]
    assert header == ["file", "error", *ranked]
    *good, failed = rows
    assert [os.fsencode(row[0]) for row in good] == NAMES
    for row in good:
        assert row[1:] == ["", "2", CLASSES[2], repr(PROBABILITIES[0]), "3", CLASSES[3], repr(PROBABILITIES[1])]
    assert failed == [*FAILED[:2], *[""] * 6]


def test_csv_has_zero_bytes_too() -> None:
    assert lines("csv", Prediction("a\0b.jpg", "unreadable"), top_k=1).splitlines()[1] == b'"a\0b.jpg","unreadable",,,'


def test_jsonl_has_every_name_and_every_digit() -> None:
    *good, failed = lines("jsonl", *PREDICTIONS, FAILED).decode().splitlines()
    assert [os.fsencode(json.loads(line)["file"]) for line in good] == NAMES
    ranked = [{"label": a, "class": CLASSES[a], "probability": b} for a, b in zip(TOP, PROBABILITIES, strict=True)]
    assert all(json.loads(line)["predictions"] == ranked and json.loads(line)["error"] is None for line in good)
    assert json.loads(failed) == {"file": "cut.jpg", "error": FAILED.error, "predictions": []}
    assert "漢字.jpg" in good[-1]
    assert all(character.isprintable() for line in good for character in line)


def test_a_table_has_nothing_that_a_terminal_obeys() -> None:
    text = lines("table", *PREDICTIONS, FAILED).decode()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert 'plain.jpg\n  0.3000  a "rose"\\x1b[2J\n  0.0000  漢字\n' in text
    assert "line\\nbreak\\r.jpg\n" in text
    assert text.endswith("cut.jpg\n  truncated: it ends\\nwithin a header\n")


def test_the_page_shows_such_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plant(tmp_path, per_class=1, classes=("photos",))
    (whole,) = (tmp_path / "photos").iterdir()
    Path("photos/cut.jpg").write_bytes(whole.read_bytes()[:-40])
    cut = PictureReader(75, ImageOptions(), "train").read(Item("photos/cut.jpg"))
    formatter = Formatter("table", ["background", "daisy", "dandelion", "roses", "sunflowers", "tulips"], top_k=3)
    predictions = [
        Prediction(cut.file, cut.error),
        Prediction("photos/garden.jpg", "", (1, 2, 4), (0.58091, 0.1353, 0.0955)),
        Prediction("photos/market.jpg", "", (5, 3, 2), (0.4596, 0.1953, 0.1237)),
    ]
    check_shown("docs/using-a-model.md", "photos/cut.jpg", b"".join(map(formatter.rows, predictions)).decode() + "more\n")


def test_no_more_classes_are_named_than_there_are() -> None:
    header = lines("csv", top_k=9).decode()
    assert header.count("class_") == len(CLASSES)


@pytest.mark.parametrize(
    ("asked", "to_file", "is_terminal", "launched", "chosen"),
    [
        (None, False, True, False, "table"),
        (None, False, False, False, "csv"),
        (None, True, True, False, "csv"),
        (None, False, True, True, "csv"),
        ("jsonl", False, True, False, "jsonl"),
        ("table", True, False, True, "table"),
    ],
)
def test_a_person_gets_a_table_and_a_program_csv(
    monkeypatch: pytest.MonkeyPatch,
    asked: formats.Format | None,
    to_file: bool,
    is_terminal: bool,
    launched: bool,
    chosen: formats.Format,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setattr(formats, "detect_launcher", lambda environ: object() if launched else None)
    assert choose_format(asked, to_file) == chosen
