import errno
import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import xxhash

from shardtune.errors import WorldError
from shardtune.runtime.files import CHUNK_BYTES, atomic_write, sha256_file, stage_writes, write_json, xxh3_file
from tests.faults.mounts import CRASH, Fault, Mounter, Options, log_of


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


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as first:
        first.write(b"the first, and longer")
        with atomic_write(path) as second:
            second.write(b"the second")
        assert path.read_bytes() == b"the second"
    assert [(found, found.read_bytes()) for found in tmp_path.iterdir()] == [(path, b"the first, and longer")]


def test_files_below_a_directory_are_made_in_the_folder_that_is_staged(tmp_path: Path) -> None:
    directory, folder = tmp_path / "data", tmp_path / "data" / "work"
    folder.mkdir(parents=True)
    with stage_writes(directory, folder):
        with atomic_write(directory / "file") as file:
            assert [path for path in directory.iterdir() if path.is_file()] == []
            assert Path(file.name).parent == folder
        with atomic_write(tmp_path / "other") as file:
            assert Path(file.name).parent == tmp_path
    assert (directory / "file").exists()


@pytest.mark.parametrize("before", [True, False])
def test_without_that_folder_no_file_is_finished(tmp_path: Path, before: bool) -> None:
    folder, path = tmp_path / "work", tmp_path / "file"
    folder.mkdir()
    path.write_bytes(b"old")
    if before:
        folder.rmdir()
    taken_over = f"{path} was not finished, because another job has taken over its directory"

    def write() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            shutil.rmtree(folder)

    with stage_writes(tmp_path, folder), pytest.raises(WorldError, match=re.escape(taken_over)):
        write()
    assert path.read_bytes() == b"old"


def test_an_error_names_the_file_that_was_to_be(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        with atomic_write(path):
            pass

    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "missing" / "file", tmp_path / "directory"):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            write(path)
        assert (caught.value.filename, caught.value.filename2) == (str(path), None)
    for another in ("-another", "another"):  # its name sorts before and after that of the temporary file
        with pytest.raises(OSError, match="of another file") as caught, atomic_write(tmp_path / "file"):
            raise OSError(errno.EIO, "of another file", another)
        assert caught.value.filename == another


@pytest.mark.parametrize("error", ["EINVAL", "EOPNOTSUPP"])
def test_a_directory_that_cannot_be_synced_ends_nothing(hostile_directory: Mounter, tmp_path: Path, error: str) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(sync_directory=error))
    write_json(mount / "file", "whole")
    assert (tmp_path / "backing" / "file").read_text() == '"whole"\n'
    assert "fsyncdir /" in log_of(mount).read_text().splitlines()


@pytest.mark.parametrize(
    ("call", "error"),
    [("create", "EIO"), ("write", "ENOSPC"), ("fsync", "ESTALE"), ("close", "EIO"), ("rename", "EINTR"), ("fsyncdir", "EIO")],
)
def test_a_call_that_fails_once_leaves_the_old_or_the_new(
    hostile_directory: Mounter, tmp_path: Path, call: str, error: str
) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault(call, "*", 1, error)))
    (tmp_path / "backing" / "file").write_text("old")
    with pytest.raises(OSError, match=os.strerror(getattr(errno, error))) as caught:
        write_json(mount / "file", "new")
    assert caught.value.filename in (str(mount / "file"), str(mount))
    assert (tmp_path / "backing" / "file").read_text() == ('"new"\n' if call == "fsyncdir" else "old")
    write_json(mount / "file", "new")
    assert [path.name for path in (tmp_path / "backing").iterdir()] == ["file"]


def test_short_writes_are_continued(hostile_directory: Mounter, tmp_path: Path) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(short=1000))
    data = bytes(range(256)) * 100
    with atomic_write(mount / "file") as file:
        file.write(data)
    assert (tmp_path / "backing" / "file").read_bytes() == data
    assert xxh3_file(mount / "file") == xxhash.xxh3_128(data).hexdigest()


def test_what_was_written_survives_a_crash_of_the_machine(hostile_directory: Mounter, tmp_path: Path) -> None:
    backing = tmp_path / "backing"
    mount = hostile_directory(backing, Options(crash=True))
    write_json(mount / "file", "old")
    with atomic_write(mount / "lost", durable=False) as file:
        file.write(b"not synced")
    (mount / "file").with_name("unsynced").write_text("lost")
    with suppress(OSError):
        (mount / CRASH).mkdir()
    assert (backing / "file").read_text() == '"old"\n'
    assert sorted(path.name for path in backing.iterdir()) == ["file"]


def test_json_is_text_that_people_can_read(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"label": "Gänseblümchen", "n": [1, 2]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == '{\n  "label": "Gänseblümchen",\n  "n": [\n    1,\n    2\n  ]\n}\n'
    assert json.loads(text) == {"label": "Gänseblümchen", "n": [1, 2]}


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_file_is_digested_whole(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_file_that_cannot_be_read_to_its_end_is_named() -> None:
    path = Path("/proc/self/mem")  # can be opened, but nothing is at its first byte
    with pytest.raises(OSError, match=r"Input/output error: '/proc/self/mem'"):
        sha256_file(path)
