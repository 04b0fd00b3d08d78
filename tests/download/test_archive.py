import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from shardtune.download import archive
from shardtune.download.archive import unpack
from shardtune.errors import DownloadError
from tests.download.archives import packed
from tests.faults.mounts import Fault, Mounter, Options


def unpacked(content: bytes, directory: Path) -> dict[str, bytes]:
    """What is in `directory`/out afterwards."""
    (directory / "a.tgz").write_bytes(content)
    unpack(directory / "a.tgz", directory / "out" / "flowers", lambda: None)
    return files(directory / "out")


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


GOOD = (("flowers/a/1.jpg", b"one"), ("./flowers/LICENSE.txt", b"licence"), ("flowers/b", {"type": tarfile.DIRTYPE}))


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    assert unpacked(packed(*GOOD, ("other", b"x")), tmp_path) == {"flowers/a/1.jpg": b"one", "flowers/LICENSE.txt": b"licence"}
    assert (tmp_path / "out" / "flowers" / "b").is_dir()


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out" / "flowers").mkdir(parents=True)
    (tmp_path / "out" / "flowers" / "old").touch()
    assert unpacked(packed(("flowers", b"a file now")), tmp_path) == {"flowers": b"a file now"}
    assert unpacked(packed(*GOOD), tmp_path).keys() == {"flowers/a/1.jpg", "flowers/LICENSE.txt"}


def pax(name: str, **headers: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers=headers) as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return out.getvalue()


LINK = {"linkname": "../../outside", "type": tarfile.SYMTYPE}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ((("/tmp/outside", b"x"),), "'/tmp/outside' leads out of its folder"),
        ((("../outside", b"x"),), "'../outside' leads out of its folder"),
        ((("flowers/../../outside", b"x"),), "'flowers/../../outside' leads out of its folder"),
        ((("flowers/..", {"type": tarfile.DIRTYPE}),), "leads out of its folder"),
        ((("flowers/link", LINK), ("flowers/link/x", b"x")), "'flowers/link' is neither a file nor a folder"),
        ((("flowers/link", {"linkname": "/etc/passwd", "type": tarfile.LNKTYPE}),), "is neither a file nor a folder"),
        ((("flowers/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),), "is neither a file nor a folder"),
        ((("flowers/disk", {"type": tarfile.BLKTYPE}),), "is neither a file nor a folder"),
        ((("flowers/pipe", {"type": tarfile.FIFOTYPE}),), "is neither a file nor a folder"),
        ((("flowers/a", b"1"), ("flowers/a", b"2")), "'flowers/a' is in it twice"),
        ((("flowers/a", b"1"), ("./flowers//a", b"2")), "is in it twice"),
        ((("flowers/a", b"1"), ("flowers/a/b", b"2")), "'flowers/a/b' is in it twice"),
        ((("flowers/a/b", b"1"), ("flowers/a", b"2")), "'flowers/a' is in it twice"),
        ((("flowers/a", b"1"), ("flowers/a", {"type": tarfile.DIRTYPE})), "'flowers/a' is in it twice"),
        ((("flowers/\x1b[2J", b"x"),), r"'flowers/\x1b[2J' is no name of a file"),
        ((("flowers/a\nb", b"x"),), r"'flowers/a\nb' is no name of a file"),
        ((("flowers/\udcff", b"x"),), r"'flowers/\udcff' is no name of a file"),
        ((("flowers", b"x"), *((f"{number}", b"") for number in range(20))), "it has more than 20 files"),
        ((("flowers", bytes(2_000_000)),), "it has more than 1000000 bytes"),
    ],
)
def test_an_archive_that_no_one_should_unpack_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: tuple[Any, ...], reason: str
) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 20)
    with pytest.raises(DownloadError) as raised:
        unpacked(packed(*members), tmp_path)
    assert raised.value.message.startswith(f"{tmp_path}/a.tgz cannot be unpacked (")
    assert raised.value.message.endswith(f"{reason}).")
    assert files(tmp_path).keys() == {"a.tgz"}
    assert not list((tmp_path / "out").iterdir())


def test_headers_count_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    with pytest.raises(DownloadError, match="more than 1000000 bytes"):
        unpacked(pax("flowers", comment="x" * 2_000_000), tmp_path)


def test_a_file_that_only_claims_to_be_large(tmp_path: Path) -> None:
    info = tarfile.TarInfo("flowers")
    info.size = 1 << 50
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpacked(gzip.compress(info.tobuf() + b"x" * 1000), tmp_path)


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("flowers")
    info.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpacked(gzip.compress(info.tobuf() + bytes(1024)), tmp_path)


@pytest.mark.parametrize("tenth", range(10))
def test_an_archive_that_is_cut_short(tmp_path: Path, tenth: int) -> None:
    content = packed(*GOOD, ("flowers/c", bytes(range(256)) * 999))
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpacked(content[: len(content) * tenth // 10], tmp_path)
    assert files(tmp_path).keys() == {"a.tgz"}


@pytest.mark.parametrize("position", [30, -8, -2])
def test_a_flipped_bit(tmp_path: Path, position: int) -> None:
    content = bytearray(packed(*GOOD, ("flowers/c", bytes(range(256)) * 999)))
    content[position] ^= 4
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpacked(bytes(content), tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>Log in to this network</html>", gzip.compress(b"x" * 5000, mtime=0)])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DownloadError, match=r"cannot be unpacked|holds no flowers"):
        unpacked(content, tmp_path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"a\.tgz holds no flowers\. Give another file with --url\."):
        unpacked(packed(("trees/a.jpg", b"x")), tmp_path)


def test_a_full_disk(tmp_path: Path, hostile_directory: Mounter) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault("write", "*", 2, "ENOSPC")))
    (tmp_path / "a.tgz").write_bytes(packed(*GOOD))
    with pytest.raises(OSError, match="No space left"):
        unpack(tmp_path / "a.tgz", mount / "flowers", lambda: None)
    assert files(tmp_path / "backing") == {}
    unpack(tmp_path / "a.tgz", mount / "flowers", lambda: None)
    assert files(tmp_path / "backing").keys() == {"flowers/a/1.jpg", "flowers/LICENSE.txt"}
