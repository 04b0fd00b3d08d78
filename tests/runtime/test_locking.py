import errno
import fcntl
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from shardtune.errors import WorldError
from shardtune.runtime import locking
from shardtune.runtime.files import atomic_write
from shardtune.runtime.locking import LOCK_NAME, exclusive_directory
from shardtune.runtime.world import World
from tests.faults.mounts import Fault, Mounter, Options, failed_call


def test_a_directory_is_made_and_used_by_one_job_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there" / "yet"
    refusal = f"{directory} is in use by process {os.getpid()} on {socket.gethostname()}. Wait until it ends"
    with exclusive_directory(directory, World()):
        with (
            pytest.raises(WorldError, match=re.escape(refusal)),
            exclusive_directory(directory, World()),
        ):
            pass
        with exclusive_directory(tmp_path / "other", World()):
            pass
    with exclusive_directory(directory, World()):
        pass


def test_an_interrupted_job_frees_the_directory(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), exclusive_directory(tmp_path, World()):
        raise KeyboardInterrupt
    with exclusive_directory(tmp_path, World()):
        pass


def test_a_lock_alone_is_enough_to_be_refused(tmp_path: Path) -> None:
    with (tmp_path / LOCK_NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(WorldError, match=rf"{tmp_path} is in use by another job\. Wait"),
            exclusive_directory(tmp_path, World()),
        ):
            pass


def test_files_below_the_covered_directory_are_written_through_the_lease(tmp_path: Path) -> None:
    with exclusive_directory(tmp_path / "work", World(), covers=tmp_path), atomic_write(tmp_path / "file") as file:
        assert Path(file.name).parents[2] == tmp_path / "work"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", LOCK_NAME, "work"]


def test_a_lock_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(IsADirectoryError, match=str(tmp_path / LOCK_NAME)), exclusive_directory(tmp_path, World()):
        pass


def test_a_lock_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / LOCK_NAME))), exclusive_directory(tmp_path, World()):
        pass


def test_a_lock_that_cannot_be_closed_is_free(hostile_directory: Mounter, tmp_path: Path) -> None:
    mount = hostile_directory(tmp_path / "backing", Options("works", fail=Fault("close", f"*/{LOCK_NAME}", 1, "EIO")))
    for _ in range(2):
        with exclusive_directory(mount, World()):
            pass
    assert failed_call(mount) == f"close /{LOCK_NAME}"


def test_a_rank_waits_for_a_file_that_shows_late(tmp_path: Path) -> None:
    late = threading.Timer(0.3, (tmp_path / "owner").touch)
    late.start()
    assert locking._wait_until_visible(tmp_path / "owner")
    late.join()


def test_a_rank_that_never_sees_the_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "VISIBILITY_SECONDS", 0.3)
    assert not locking._wait_until_visible(tmp_path / "owner")
