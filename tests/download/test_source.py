import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardtune.download import transfer
from shardtune.download.source import RemoteFile, fetch_file, fetch_unpacked
from shardtune.errors import DownloadError
from shardtune.runtime.world import World
from tests.download.archives import packed
from tests.download.server import Server, serving

CONTENT = packed(("inception/a.ckpt", b"weights"), ("inception/checkpoint", b"state"))
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "PAUSES_SECONDS", (0,))
    return tmp_path / "cache" / "shardtune"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


def of(server: Server, digest: str = "") -> RemoteFile:
    return RemoteFile("a.tgz", server.url("a.tgz"), digest)


@pytest.mark.parametrize("digest", [SHA256, MD5])
def test_a_file_that_is_whole_is_not_requested_again(server: Server, directory: Path, digest: str) -> None:
    for _ in range(3):
        fetch_file(of(server, digest), directory, World())
        assert (directory / "a.tgz").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_file_that_was_put_there_by_hand(server: Server, directory: Path) -> None:
    (directory / "a.tgz").write_bytes(CONTENT)
    fetch_file(of(server, SHA256), directory, World())
    assert server.ranges == []


def test_a_damaged_file_is_replaced(server: Server, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "a.tgz").write_bytes(CONTENT[:-1])
    fetch_file(of(server, SHA256), directory, World())
    assert (directory / "a.tgz").read_bytes() == CONTENT
    assert f"{directory}/a.tgz is damaged, or another file: its digest is not {SHA256}." in capsys.readouterr().out


def test_a_wrong_digest_is_an_error_that_leaves_what_was_there(server: Server, directory: Path) -> None:
    (directory / "a.tgz").write_bytes(b"old")
    server.content = CONTENT + b"x"
    found = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(DownloadError) as raised:
        fetch_file(of(server, SHA256), directory, World())
    assert raised.value.message == (
        f"What {server.url('a.tgz')} gives is damaged, or another file: its digest is sha256:{found}, not {SHA256}."
    )
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {"a.tgz": b"old"}


def unpacked(server: Server, directory: Path, digest: str = "") -> dict[str, bytes]:
    fetch_unpacked(of(server, digest), directory / "inception", directory, World())
    return {path.name: path.read_bytes() for path in (directory / "inception").iterdir()}


UNPACKED = {"a.ckpt": b"weights", "checkpoint": b"state"}


@pytest.mark.parametrize("digest", ["", SHA256])
def test_what_is_unpacked_and_whole_needs_nothing(server: Server, directory: Path, digest: str) -> None:
    assert unpacked(server, directory, digest) == UNPACKED
    (directory / "a.tgz").unlink()
    before = (directory / "inception" / "a.ckpt").stat()
    assert unpacked(server, directory, digest) == UNPACKED
    assert (directory / "inception" / "a.ckpt").stat() == before
    assert len(server.ranges) == 1


@pytest.mark.parametrize("damage", ["cut", "lost", "more", "receipt"])
def test_what_is_damaged_is_unpacked_again(server: Server, directory: Path, damage: str) -> None:
    unpacked(server, directory)
    match damage:
        case "cut":
            (directory / "inception" / "a.ckpt").write_bytes(b"weight")
        case "lost":
            (directory / "inception" / "a.ckpt").unlink()
        case "more":
            (directory / "inception" / "b").touch()
        case _:
            (directory / ".inception.json").unlink()
    assert unpacked(server, directory) == UNPACKED
    assert len(server.ranges) == 1


def test_a_digest_that_is_not_published_is_kept_and_checked(
    server: Server, directory: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpacked(server, directory)
    assert (cache / "digests" / "a.tgz").read_text() == f"{SHA256}\n"
    assert f"No digest of a.tgz is published: {SHA256} is kept in {cache}/digests/a.tgz" in capsys.readouterr().out
    server.content = packed(("inception/a.ckpt", b"other"))
    other = directory / "other"
    with pytest.raises(DownloadError, match=rf"not {SHA256}\. .* Remove {cache}/digests/a\.tgz if it was published anew\."):
        unpacked(server, other)
    (cache / "digests" / "a.tgz").unlink()
    assert unpacked(server, other) == {"a.ckpt": b"other"}


def test_the_digest_of_what_is_no_archive_is_not_kept(server: Server, directory: Path, cache: Path) -> None:
    server.content = b"<html>Log in to this network</html>"
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpacked(server, directory)
    assert not cache.exists()
    assert not (directory / "inception").exists()


def test_a_damaged_record_counts_as_none(server: Server, directory: Path, cache: Path) -> None:
    (cache / "digests").mkdir(parents=True)
    (cache / "digests" / "a.tgz").write_bytes(b"\xff")
    assert unpacked(server, directory) == UNPACKED
    assert (cache / "digests" / "a.tgz").read_text() == f"{SHA256}\n"
