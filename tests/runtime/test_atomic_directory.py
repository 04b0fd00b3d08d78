"""Directories that appear whole or not at all."""

import errno
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shardtune.runtime.files import atomic_directory
from tests.launching import ENVIRONMENT


def test_a_directory_has_its_name_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a[b]"
    with atomic_directory(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_bytes(b"content")
        assert not path.exists()
    assert (path / "inner" / "file").read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_directory_when_the_block_raises(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with atomic_directory(tmp_path / "a") as folder:
            (folder / "file").write_bytes(b"half")
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_directory_that_holds_something_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_bytes(b"old")
    with pytest.raises(OSError, match="not empty"), atomic_directory(tmp_path / "a") as folder:
        (folder / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "old"]


def test_a_directory_is_replaced_on_request(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with atomic_directory(tmp_path / "a", replace=True) as folder:
            (folder / name).touch()
        assert [path.name for path in tmp_path.rglob("*")] == ["a", name]


def test_what_would_be_replaced_stays_when_the_block_raises(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(ValueError, match="in the middle"), atomic_directory(tmp_path / "a", replace=True):
        raise ValueError("in the middle")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "old"]


def test_what_would_be_replaced_has_its_name_again_when_the_new_one_cannot_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    rename, renames = Path.rename, list[Path]()

    def failing(path: Path, target: Path) -> Path:
        renames.append(path)
        if len(renames) == 2:
            raise OSError(errno.EIO, "broken")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="broken"), atomic_directory(tmp_path / "a", replace=True):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "old"]


ENDLESS = """
import sys
from pathlib import Path
from shardtune.runtime.files import atomic_directory
for number in range(10**9):
    with atomic_directory(Path(sys.argv[1]) / f"{number % 3}.{number}") as folder:
        for name in "abcd":
            (folder / name).write_bytes(b"x" * 10_000)
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_process_leaves_no_half_directory_under_its_name(tmp_path: Path, seed: int) -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS, tmp_path], env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.02))
        process.kill()
    for path in tmp_path.iterdir():
        if not path.name.startswith("."):
            assert {file.name: file.stat().st_size for file in path.iterdir()} == dict.fromkeys("abcd", 10_000)
