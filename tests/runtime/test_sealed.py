import json
import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shardtune.runtime.sealed import read_sealed, write_sealed
from tests.jsonvalues import json_values


@given(st.dictionaries(st.text().filter(lambda key: key not in ("version", "digest")), json_values(), max_size=4))
def test_what_was_sealed_is_read(tmp_path: Path, value: dict[str, Any]) -> None:
    write_sealed(tmp_path / "x", 3, value)
    assert json.dumps(read_sealed(tmp_path / "x", 3)) == json.dumps(value)  # NaN is not equal to itself
    assert read_sealed(tmp_path / "x", 2) is read_sealed(tmp_path / "x", 4) is None


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_sealed(path, 1, {"a": ["Gänseblümchen", 1.5, None], "b": {"c": True}})
    content = path.read_bytes().rstrip()
    file = os.open(path, os.O_RDWR)
    for bit in range(8 * len(content)):
        os.pwrite(file, bytes([content[bit // 8] ^ 1 << bit % 8]), bit // 8)
        assert read_sealed(path, 1) is None
        os.pwrite(file, content[bit // 8 : bit // 8 + 1], bit // 8)
    os.close(file)
    assert read_sealed(path, 1) is not None


@given(json_values())
def test_what_is_not_sealed_is_not_there(tmp_path: Path, value: Any) -> None:
    (tmp_path / "x").write_text(json.dumps(value))
    assert read_sealed(tmp_path / "x", 1) is read_sealed(tmp_path / "nowhere", 1) is None


def test_what_is_nested_too_deep_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[" * 100_000)
    assert read_sealed(tmp_path / "x", 1) is None
