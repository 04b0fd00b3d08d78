"""Files that are no checkpoint, one of another model, or damaged: refused, and nothing in them is run."""

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file
from shardtune.model.inception import named_variables
from shardtune.model.pretrained import restore
from tests.model.checkpoints import V1, V2, Arrays, written_by_keras


class Marker:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def pickled(folder: Path) -> bytes:
    return pickle.dumps(Marker(folder / "was run"))


def archive(folder: Path) -> bytes:
    """As PyTorch's: a zip with a pickle."""
    with zipfile.ZipFile(folder / "made", "w") as file:
        file.writestr("archive/data.pkl", pickled(folder))
        file.writestr("config.json", '{"class_name": "Lambda"}')
    return (folder / "made").read_bytes()


def linked(folder: Path) -> bytes:
    """HDF5 in Keras's layout that points to arrays in another file."""
    with h5py.File(folder / "secret", "w") as file:
        file.attrs["layer_names"] = ["a"]
        file["a/kernel"] = np.zeros(8, np.float32)
        file["b"] = np.zeros((3, 3, 3, 32), np.float32)
    with h5py.File(folder / "made", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(folder / "secret"), "/")
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(folder / "secret"), "b")
        file.create_dataset("layers/conv2d_1/vars/0", (8,), "f4", external=[(str(folder / "secret"), 0, 32)])
    return (folder / "made").read_bytes()


def bomb(folder: Path) -> bytes:
    with h5py.File(folder / "made", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (1 << 40,), "f4", chunks=(1 << 20,))
    return (folder / "made").read_bytes()


def other_keras_model(folder: Path) -> bytes:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    return written_by_keras(model, folder / "made.keras").read_bytes()


UNKNOWN = "is no checkpoint of a known format, or not complete"
FOREIGN: list[tuple[Callable[[Path], bytes], str]] = [
    (lambda _: b"", UNKNOWN),
    (lambda _: b"not a checkpoint at all", UNKNOWN),
    (lambda _: b"\0" * 5000, UNKNOWN),
    (pickled, UNKNOWN),
    (archive, "no item named 'model.weights.h5'"),
    (linked, "0 convolutions, 0 batch normalisations and 0 other layers"),
    (bomb, "declares more data"),
    (other_keras_model, "0 convolutions, 0 batch normalisations and 1 other layers"),
]


@pytest.mark.parametrize(("content", "reason"), FOREIGN, ids=lambda value: getattr(value, "__name__", None))
def test_foreign_files_are_refused(small_model: Any, content: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content(tmp_path))
    with pytest.raises(CheckpointError, match=rf"{path} .*{reason}.*\. (Download it again, or give another one|Give .*)\.$"):
        restore(small_model, path)
    assert not (tmp_path / "was run").exists()


def test_a_checkpoint_that_is_not_there(small_model: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"no checkpoint at {tmp_path / 'model.ckpt-1'}\. Check the path"):
        restore(small_model, tmp_path / "model.ckpt-1")
    with pytest.raises(CheckpointError, match=r"has 0 checkpoints\. Give the path of one"):
        restore(small_model, tmp_path)


def test_a_tensorflow_checkpoint_of_another_model(small_model: Any, tmp_path: Path) -> None:
    prefix = tf.train.Checkpoint(dense=tf.Variable([1.0, 2.0])).write(str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"378 missing \(conv0/weights, .* and 373 more\); 1 unexpected \(dense/"):
        restore(small_model, Path(prefix))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("kind", ["V1", "V2 index", "V2 data", ".keras", ".h5", ".weights.h5", "safetensors"])
def test_files_that_are_cut_short(
    small_model: Any, released: dict[int, Path], of_keras: Any, values: Arrays, kind: str, keep: float, tmp_path: Path
) -> None:
    if kind.startswith("V"):
        for path in released[V1 if kind == "V1" else V2].parent.iterdir():
            shutil.copy(path, tmp_path)
        names = {"V1": "model.ckpt-7", "V2 index": "model.ckpt-7.index", "V2 data": "model.ckpt-7.data-00000-of-00001"}
        path, given = tmp_path / names[kind], tmp_path / "model.ckpt-7"
    else:
        given = path = (
            checkpoint_file.save(tmp_path, 1, values)
            if kind == "safetensors"
            else written_by_keras(of_keras, tmp_path / f"saved{kind}")
        )
    with path.open("r+b") as file:
        file.truncate(int(keep * path.stat().st_size))
    before = named_variables(small_model)["conv0/weights"].numpy()
    with pytest.raises(
        CheckpointError, match=r"Download it again|Remove it to use the one before|Give a checkpoint of Inception v3"
    ):
        restore(small_model, given)
    assert np.array_equal(before, named_variables(small_model)["conv0/weights"])


def test_a_flipped_bit(small_model: Any, released: dict[int, Path], tmp_path: Path) -> None:
    for path in released[V2].parent.iterdir():
        shutil.copy(path, tmp_path)
    path = tmp_path / "model.ckpt-7.data-00000-of-00001"
    with path.open("r+b") as file:
        file.seek(1000)  # in a weight, not in a slot that is never read
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(CheckpointError, match="cannot be read"):
        restore(small_model, tmp_path / "model.ckpt-7")
