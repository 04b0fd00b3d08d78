from pathlib import Path

import numpy as np
import pytest

from shardtune.dataset.columns import load_record_index
from shardtune.dataset.example import encode_example
from shardtune.dataset.manifest import Manifest
from shardtune.evaluate.names import NamingReader, source_name


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ({"image/path": [b"a/\xc3\xbc.jpg"], "image/filename": ["ü.jpg".encode()]}, "a/ü.jpg"),
        ({"image/filename": [b"b.jpg"]}, "b.jpg"),
        ({"image/filename": [b"\xff.jpg"]}, ""),
        ({"image/filename": [3]}, ""),
        ({"image/class/label": [3]}, ""),
    ],
)
def test_the_file_of_a_record(features: dict[str, list[bytes]], name: str) -> None:
    assert source_name(encode_example(features)) == name


def test_a_record_that_is_no_example_has_no_file() -> None:
    assert source_name(b"\xff\xff") == ""


def test_the_names_of_what_was_read_are_kept(small_data: Path) -> None:
    manifest = Manifest.load(small_data)
    index = load_record_index(small_data, manifest)["validation"]
    reader = NamingReader(small_data, manifest, "validation", index)
    records = reader.read(np.array([20, 3]))
    assert reader.names == {20: source_name(records[0]), 3: source_name(records[1])}
    assert all(name.count("/") == 1 and name.endswith(".jpg") for name in reader.names.values())
