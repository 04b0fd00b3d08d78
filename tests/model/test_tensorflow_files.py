from pathlib import Path

import numpy as np
import pytest

from shardtune.errors import CheckpointError
from shardtune.model.tensorflow_files import newest
from tests.model.checkpoints import V1, V2, save

ARRAYS = {"x": np.zeros(1)}


@pytest.fixture(params=[V1, V2])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with the checkpoints 5, 1000 and 999, as the trainer of 2016 leaves it: 999 is the newest."""
    for step in (5, 1000, 999):
        save(tmp_path / f"model.ckpt-{step}", ARRAYS, request.param)
    (tmp_path / "model.ckpt-999.meta").write_bytes(b"\x0a\x00")
    (tmp_path / "events.out.tfevents.1459").touch()
    return tmp_path


def names(directory: Path, path: str) -> None:
    (directory / "checkpoint").write_text(
        f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "/tmp/train/model.ckpt-5"\n'
    )


def test_the_file_checkpoint_says_which_is_the_newest(old: Path) -> None:
    assert newest(old) == old / "model.ckpt-999"
    for path in ("/tmp/train/model.ckpt-5", "train/model.ckpt-5", r"C:\\train\\model.ckpt-5", "../elsewhere/model.ckpt-5"):
        names(old, path)
        assert newest(old) == old / "model.ckpt-5"


def test_without_it_the_highest_number_is_the_newest(old: Path) -> None:
    (old / "checkpoint").unlink()
    assert newest(old) == old / "model.ckpt-1000"
    save(old / "final", ARRAYS, V2)
    (old / "checkpoint").unlink()
    assert newest(old) == old / "model.ckpt-1000"


@pytest.mark.parametrize("path", ["/tmp/train/model.ckpt-7", "..", "/", ".", r"..\\..", "model.ckpt-5\0", "a" * 200, "\x1b[2J"])
def test_what_it_names_is_not_looked_for_elsewhere(old: Path, path: str) -> None:
    inner = old / "inner"
    inner.mkdir()
    save(old / "model.ckpt-7", ARRAYS, V1)
    names(inner, path)
    assert newest(inner) is None


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_one_checkpoint_can_be_asked_for(old: Path, suffix: str) -> None:
    path = old / f"model.ckpt-999{suffix}"
    assert newest(path) == old / "model.ckpt-999"
    assert newest(old / f"model.ckpt-6{suffix}") is None


def test_a_folder_with_one_checkpoint_without_a_number(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "nowhere") is None
    for name in ("a.ckpt", "b.ckpt"):
        save(tmp_path / name, ARRAYS, V2)
        (tmp_path / "checkpoint").unlink()
        if name == "a.ckpt":
            assert newest(tmp_path) == tmp_path / "a.ckpt"
    with pytest.raises(CheckpointError, match=rf"^The directory {tmp_path} has 2 checkpoints \(a\.ckpt, b\.ckpt\)\. Give the"):
        newest(tmp_path)
