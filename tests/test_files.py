import hashlib
import json
from pathlib import Path

import pytest

from shardtune.files import PIECE_BYTES, atomic_write, sha256_of, write_json


def test_content_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old and longer"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    write_json(tmp_path / "file", {})
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [b"old", None])
def test_nothing_changes_when_the_block_raises(tmp_path: Path, error: type[BaseException], old: bytes | None) -> None:
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)

    def write() -> None:
        with atomic_write(path) as file:
            file.write(b"half of the new")
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write()
    assert [(found, found.read_bytes()) for found in tmp_path.iterdir()] == ([(path, old)] if old else [])


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / ".file.tmp").write_bytes(b"left by a process that was killed, and longer")
    with atomic_write(path) as file:
        file.write(b"new")
    assert [(found, found.read_bytes()) for found in tmp_path.iterdir()] == [(path, b"new")]


def test_json_is_text_that_people_can_read(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"label": "Gänseblümchen", "n": [1, 2]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == '{\n  "label": "Gänseblümchen",\n  "n": [\n    1,\n    2\n  ]\n}\n'
    assert json.loads(text) == {"label": "Gänseblümchen", "n": [1, 2]}


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_a_file_is_digested_whole(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_file_that_cannot_be_read_to_its_end_is_named() -> None:
    path = Path("/proc/self/mem")  # can be opened, but nothing is at its first byte
    with pytest.raises(OSError, match=r"Input/output error: '/proc/self/mem'"):
        sha256_of(path)
