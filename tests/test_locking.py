import os
import re
import socket
from pathlib import Path

import pytest

from shardtune.errors import WorldError
from shardtune.locking import LOCK_NAME, hold
from shardtune.world import World


def test_a_directory_is_made_and_held_by_one(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there" / "yet"
    holder = f"process {os.getpid()} on {socket.gethostname()} holds {directory}"
    with hold(directory, World()):
        with pytest.raises(WorldError, match=re.escape(f"{holder}: wait until it ends")), hold(directory, World()):
            pass
        with hold(tmp_path / "other", World()):
            pass
    with hold(directory, World()):
        pass


def test_what_ends_a_job_ends_its_hold(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path, World()):
        raise KeyboardInterrupt
    with hold(tmp_path, World()):
        pass


def test_the_holder_is_told_whole_and_alone(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("process 123456789 on a host of a much longer name than any that we have here")
    with hold(tmp_path, World()):
        assert (tmp_path / LOCK_NAME).read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_lock_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(IsADirectoryError, match=str(tmp_path / LOCK_NAME)), hold(tmp_path, World()):
        pass
