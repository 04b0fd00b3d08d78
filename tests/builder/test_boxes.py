import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.boxes import Box, match_boxes, read_boxes
from shardtune.errors import DataError

NAMES = ["blue", "green", "red", "2"]


def read(tmp_path: Path, *lines: str, encoding: str = "utf-8") -> list[Box]:
    path = tmp_path / "boxes.csv"
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return read_boxes(path, NAMES)


def box(filename: str, line: int = 1) -> Box:
    return Box(0.0, 0.0, 1.0, 1.0, None, filename, line)


def test_lines_are_boxes(tmp_path: Path) -> None:
    boxes = read(tmp_path, "x.jpg,0.25,0,0.5,1", "", '"a, b.jpg", 0.5 ,0.25,1,0.75', "x.jpg,0,0,1,1")
    assert boxes == [
        Box(0.25, 0.0, 0.5, 1.0, None, "x.jpg", 1),
        Box(0.5, 0.25, 1.0, 0.75, None, "a, b.jpg", 3),
        Box(0.0, 0.0, 1.0, 1.0, None, "x.jpg", 4),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("label", ["", ",label"])
def test_a_header_may_come_first(tmp_path: Path, encoding: str, label: str) -> None:
    boxes = read(tmp_path, f"filename,xmin,ymin,xmax,ymax{label}", "Gänse.jpg,0,0,1,1", encoding=encoding)
    assert boxes == [box("Gänse.jpg", 2)]


@pytest.mark.parametrize(
    ("label", "number"), [("blue", 1), ("1", 1), ("3", 3), (" red ", 3), ("2", 4), ("", None), (" ", None)]
)
def test_a_label_is_a_class_name_before_it_is_a_number(tmp_path: Path, label: str, number: int | None) -> None:
    assert [box.label for box in read(tmp_path, f"x.jpg,0,0,1,1,{label}")] == [number]


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_has_an_inside_after_rounding_or_is_refused(tmp_path: Path, sides: list[float]) -> None:
    stored = [float(np.float32(side)) for side in sides]
    line = ",".join(map(repr, ["x.jpg", *sides])).replace("'", "")
    if stored[0] < stored[2] and stored[1] < stored[3]:
        assert read(tmp_path, line) == [Box(*stored, None, "x.jpg", 1)]
    else:
        with pytest.raises(DataError, match=r"line 1: [xy] from"):
            read(tmp_path, line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x.jpg,0,0,1", "4 columns"),
        ("x.jpg,0,0,1,1,red,7", "7 columns"),
        ("x.jpg", "1 columns"),
        ("x.jpg,-0.1,0,1,1", "x from -0.1 to 1"),
        ("x.jpg,0,0,1.5,1", "x from 0 to 1.5"),
        ("x.jpg,0,0,1,1e50", "y from 0 to inf"),
        ("x.jpg,0.5,0,0.5,1", "x from 0.5 to 0.5"),
        ("x.jpg,0,0.75,1,0.5", "y from 0.75 to 0.5"),
        ("x.jpg,nan,0,1,1", "x from nan to 1"),
        ("x.jpg,0,0,1,nan", "y from 0 to nan"),
        ("x.jpg,0.1,0.2,wide,1", "could not convert string to float: 'wide'"),
        ("x.jpg,0,0,,1", "could not convert string to float: ''"),
        ("filename,xmin,ymin,xmax,ymax", "could not convert string to float: 'xmin'"),  # a second header
        ("x.jpg,0,0,1,1,violet", "no class 'violet'"),
        ("x.jpg,0,0,1,1,0", "no class '0'"),
        ("x.jpg,0,0,1,1,5", "no class '5'"),
    ],
)
def test_lines_that_are_no_boxes_are_reported(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "filename,xmin,ymin,xmax,ymax", "x.jpg,0,0,1,1", line, "x.jpg,0,0,1,1", line)
    assert f"boxes.csv has lines that are not bounding boxes: line 3: {reason}, line 5: {reason}. Correct" in str(caught.value)


def test_another_order_of_columns_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: could not convert"):
        read(tmp_path, "filename,xmin,xmax,ymin,ymax", "x.jpg,0,0.5,0,0.5")


@pytest.mark.parametrize(("count", "more"), [(10, ""), (11, " and 1 more"), (25, " and 15 more")])
def test_ten_lines_are_listed_and_the_others_counted(tmp_path: Path, count: int, more: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *["x.jpg"] * count)
    assert str(caught.value).count("1 columns") == 10
    assert f"line 10: 1 columns{more}. Correct" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"x\xff,0,0,1,1\n", b'"' + b"x" * 200_000])
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "boxes.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"The bounding box file {path} cannot be read: .*CSV file in UTF-8"):
        read_boxes(path, NAMES)


PATHS = ["red/x.jpg", "red/deep.er/y.tar.png", "blue/x.jpg", "blue/z", "blue/w.jpg", "blue/w.jpg.jpg"]


@pytest.mark.parametrize(
    ("filename", "path"),
    [
        ("red/x.jpg", "red/x.jpg"),
        ("red/x", "red/x.jpg"),
        ("y.tar.png", "red/deep.er/y.tar.png"),
        ("y.tar", "red/deep.er/y.tar.png"),
        ("red/deep.er/y.tar", "red/deep.er/y.tar.png"),
        ("z", "blue/z"),
        ("blue/z", "blue/z"),
        ("w", "blue/w.jpg"),
        ("w.jpg", "blue/w.jpg"),  # and not w.jpg.jpg without its extension
        ("blue/w.jpg", "blue/w.jpg"),
        ("blue/w.jpg.jpg", "blue/w.jpg.jpg"),
    ],
)
def test_a_name_finds_its_image(filename: str, path: str) -> None:
    for paths in (PATHS, PATHS[::-1]):
        assert match_boxes([box(filename)], paths) == {path: [box(filename)]}


@pytest.mark.parametrize(
    ("filename", "found"),
    [
        ("x.jpg", "red/x.jpg and blue/x.jpg"),
        ("x", "red/x.jpg and blue/x.jpg"),
        ("y", "no image"),
        ("deep.er/y.tar.png", "no image"),
        ("/red/x.jpg", "no image"),
        ("../red/x.jpg", "no image"),
        ("z.jpg", "no image"),
        ("", "no image"),
    ],
)
def test_a_name_of_no_image_or_of_several_is_an_error(filename: str, found: str) -> None:
    with pytest.raises(DataError) as caught:
        match_boxes([box("z"), box(filename, 7), box(filename, 9)], PATHS)
    assert f"one image: line 7: {filename!r} matches {found}, line 9: {filename!r} matches {found}. Give" in str(caught.value)


def test_boxes_of_no_image_may_be_left_out_but_not_those_of_several() -> None:
    boxes = [box("z"), box("y", 2), box("blue/z", 3)]
    assert match_boxes(boxes, PATHS, ignore_unlisted=True) == {"blue/z": [boxes[0], boxes[2]]}
    with pytest.raises(DataError, match=r"one image: line 4: 'x' matches red/x.jpg and blue/x.jpg\. Give"):
        match_boxes([*boxes, box("x", 4)], PATHS, ignore_unlisted=True)


@pytest.mark.parametrize("name", ["r\u00f6d/\u00e9.jpg", "r\u00f6d/\u00e9", "\u00e9.jpg", "\u00e9"])
def test_letters_may_be_composed_in_two_ways(name: str) -> None:
    for listed, given_as in itertools.product(("NFC", "NFD"), repeat=2):
        path, filename = unicodedata.normalize(listed, "r\u00f6d/\u00e9.jpg"), unicodedata.normalize(given_as, name)
        assert match_boxes([box(filename)], [path]) == {path: [box(filename)]}


def test_an_image_of_both_splits_is_two_images() -> None:
    with pytest.raises(DataError, match=r"line 1: 'red/x.jpg' matches red/x.jpg and red/x.jpg"):
        match_boxes([box("red/x.jpg")], ["red/x.jpg", "red/x.jpg"])
    assert match_boxes([box("red/y")], ["red/x.jpg", "red/x.jpg", "red/y.jpg"]) == {"red/y.jpg": [box("red/y")]}


@given(st.lists(st.sampled_from(["red/x.jpg", "red/x", "y.tar", "z", "blue/w.jpg"]), max_size=12))
def test_no_box_is_lost_and_those_of_an_image_keep_their_order(filenames: list[str]) -> None:
    boxes = [box(filename, line) for line, filename in enumerate(filenames)]
    found = match_boxes(boxes, iter(PATHS))
    assert sorted(of.line for boxes in found.values() for of in boxes) == list(range(len(boxes)))
    assert all(boxes == sorted(boxes, key=lambda of: of.line) for boxes in found.values())
