import os
import re
import shutil
from pathlib import Path

import pytest

from shardtune.builder.digests import MAGIC, digest_tables
from shardtune.builder.duplicates import digest
from shardtune.builder.listing import FileTable, Walk, scan
from shardtune.builder.partition import DIGEST_BYTES
from shardtune.dataset.splits import Split
from shardtune.images.ignored import Ignored
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World

CONTENT = {"1.jpg": b"one", "2.jpg": b"two", "3.jpg": b"one", "4.jpg": b""}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "a").mkdir(parents=True)
    for name, data in CONTENT.items():
        (tmp_path / "root" / "a" / name).write_bytes(data)
    return tmp_path / "root"


def digests(root: Path, cache: Path) -> dict[str, bytes]:
    """The digest of each file of class a."""
    listing = scan(root, ["a"], Walk([root], Ignored()))
    tables: RootOnly[dict[Split, FileTable]] = RootOnly({"train": listing}, is_root=True)
    found = digest_tables({"train": root}, tables, cache, World()).digests.get()["train"].astype(">u8")
    return {listing.path(index).removeprefix("a/"): found[index].tobytes() for index in range(len(listing))}


def replace(path: Path, data: bytes) -> None:
    """Other content under the same name, of the same size and time."""
    status = path.stat()
    if path.is_dir():
        path.rmdir()
    path.write_bytes(data.ljust(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_digests_are_those_of_the_content(root: Path, tmp_path: Path) -> None:
    found = digests(root, tmp_path / "cache")
    assert found == {name: digest(data) for name, data in CONTENT.items() if data} | {"4.jpg": found["4.jpg"]}


def test_the_end_is_reported_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shardtune.builder.digests.SECONDS_BETWEEN_REPORTS", 0)  # so that nothing is left to send at the end
    digests(root, tmp_path / "cache")
    assert re.findall("digests .* of 4", capsys.readouterr().out) == ["digests 4 of 4"]


def test_files_that_cannot_be_read_are_like_no_other(root: Path, tmp_path: Path) -> None:
    (root / "a" / "5.jpg").mkdir()
    (root / "a" / "6.jpg").symlink_to("nowhere")
    other = shutil.copytree(root, tmp_path / "other", symlinks=True)
    here, there = digests(root, tmp_path / "cache"), digests(other, tmp_path / "cache")
    unreadable = [found[name] for found in (here, there) for name in ("4.jpg", "5.jpg", "6.jpg")]
    assert len(set(unreadable)) == 6
    assert not {bytes(DIGEST_BYTES), digest(b""), *map(digest, CONTENT.values())} & set(unreadable)


def test_what_is_known_is_not_read_again(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = digests(root, cache)
    replace(root / "a" / "1.jpg", b"ONE")  # seen only by reading it
    assert digests(root, cache) == first
    os.utime(root / "a" / "1.jpg")
    (root / "a" / "5.jpg").write_bytes(b"five")
    assert digests(root, cache) == first | {"1.jpg": digest(b"ONE"), "5.jpg": digest(b"five")}
    (root / "a" / "2.jpg").unlink()
    assert digests(root, cache)["5.jpg"] == digest(b"five")


def test_another_directory_is_not_known(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    digests(root, cache)
    other = shutil.copytree(root, tmp_path / "other")  # with the same times
    replace(other / "a" / "1.jpg", b"ONE")
    assert digests(other, cache)["1.jpg"] == digest(b"ONE")


def test_what_could_not_be_read_is_read_next_time(root: Path, tmp_path: Path) -> None:
    cache, path = tmp_path / "cache", root / "a" / "5.jpg"
    path.mkdir()
    before = digests(root, cache)["5.jpg"]
    assert before == digests(root, cache)["5.jpg"]
    replace(path, b"five")
    assert digests(root, cache)["5.jpg"] == digest(path.read_bytes()) != before


def test_a_cache_that_is_not_as_it_was_written_is_none(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole = digests(root, cache)
    data = cache.read_bytes()
    assert len(data) == len(MAGIC) + 3 * 2 * DIGEST_BYTES + DIGEST_BYTES  # of the three files that have content
    for size in range(len(data)):
        cache.write_bytes(data[:size])
        assert digests(root, cache) == whole
        assert cache.read_bytes() == data
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        cache.write_bytes(damaged)
        assert digests(root, cache) == whole
    cache.write_bytes(data[len(MAGIC) : -DIGEST_BYTES])  # as version 1 wrote it
    assert digests(root, cache) == whole
    assert cache.read_bytes() == data
