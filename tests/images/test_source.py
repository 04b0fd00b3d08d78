import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shardtune.images.source import MAX_BYTES, RejectedError, read_image_bytes
from tests.faults.mounts import Fault, Mounter, Options, failed_call

CONTENT = bytes(range(256)) * 1000


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


def test_files_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(CONTENT)
    (tmp_path / "link.jpg").symlink_to("image.jpg")
    assert read_image_bytes(tmp_path / "image.jpg") == read_image_bytes(tmp_path / "link.jpg") == CONTENT


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "unreadable: a directory"),
        (lambda path: path.symlink_to("nowhere"), "unreadable: a dangling link"),
        (lambda path: path.symlink_to(path), "unreadable: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/null"), "unreadable: not a regular file"),
        (lambda path: os.mkfifo(path), "unreadable: not a regular file"),  # to open it must not wait for a writer
        (lambda path: path.symlink_to("/proc/self/mem"), "unreadable: Input/output error"),
        (lambda path: None, "unreadable: no such file"),
        (lambda path: path.touch(), "empty: the file has no bytes"),
        (sparse, "too_large: 1,073,741,825 bytes"),
    ],
)
def test_what_cannot_be_read_is_rejected(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "image.jpg")
    with pytest.raises(RejectedError, match=f"^{message}"):
        read_image_bytes(tmp_path / "image.jpg")


@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("error", ["EIO", "ESTALE", "EINTR"])
def test_a_file_that_cannot_be_read_once_is_read_again(
    hostile_directory: Mounter, tmp_path: Path, call: str, error: str
) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault(call, "/image.jpg", 1, error)))
    (mount / "image.jpg").write_bytes(CONTENT)
    assert read_image_bytes(mount / "image.jpg") == CONTENT
    assert failed_call(mount) == f"{call} /image.jpg"
