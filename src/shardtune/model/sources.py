"""The files that weights come from, each told by its content and read as {name of the 2016 release: array}.

source                                          lacks by nature                       averaged twins
inception-v3-2016-03-01, TensorFlow V1 or V2    –                                     yes
TF-Slim inception_v3.ckpt of 2016-08-28         –                                     where training left some
Keras .h5, .weights.h5, .keras with top         auxiliary head, background class      no
the same without top                            auxiliary head, logits                no
a run directory, or one of its checkpoints      what the image size rules out         yes, except of what was frozen
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import safetensors
import tensorflow as tf

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint, keras_files
from shardtune.model.averages import TWIN
from shardtune.model.inception import trunk_names
from shardtune.model.keras_files import Array

EXPECTED = "A checkpoint of Inception v3 (TensorFlow's, TF-Slim's, Keras's or a run directory) was expected"
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # ends V1 checkpoints and V2 indices: tensorflow/core/lib/io/format.h
# What training leaves beside the network: TensorFlow 1's optimizers, its loss averages, our own state.
TRAINING_STATE = re.compile(
    r".*/(ExponentialMovingAverage|RMSProp|RMSProp_1|Momentum|Adam|Adam_1|avg)|global_step|beta[12]_power|(optimizer|loss_scale)/.*"
)
# What the readers' libraries raise on files that are cut short, damaged or another thing.
UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, EOFError, NotImplementedError),
    *(BadZipFile, safetensors.SafetensorError, tf.errors.OpError),
)

# TF-Slim's names: the stem, then each block's branches.
_SLIM_STEM = "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3"
_SLIM_BLOCKS = {
    "5b": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_5x5, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3, Conv2d_0b_1x1",
    "5c": "Conv2d_0a_1x1, Conv2d_0b_1x1 Conv_1_0c_5x5, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3, Conv2d_0b_1x1",
    "5d": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_5x5, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_3x3, Conv2d_0b_1x1",
    "6a": "Conv2d_1a_1x1, Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_1a_1x1",
    **dict.fromkeys(
        ("6b", "6c", "6d", "6e"),
        "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_1x7 Conv2d_0c_7x1, "
        "Conv2d_0a_1x1 Conv2d_0b_7x1 Conv2d_0c_1x7 Conv2d_0d_7x1 Conv2d_0e_1x7, Conv2d_0b_1x1",
    ),
    "7a": "Conv2d_0a_1x1 Conv2d_1a_3x3, Conv2d_0a_1x1 Conv2d_0b_1x7 Conv2d_0c_7x1 Conv2d_1a_3x3",
    "7b": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_1x3 Conv2d_0b_3x1, "
    "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_1x3 Conv2d_0d_3x1, Conv2d_0b_1x1",
    "7c": "Conv2d_0a_1x1, Conv2d_0a_1x1 Conv2d_0b_1x3 Conv2d_0c_3x1, "
    "Conv2d_0a_1x1 Conv2d_0b_3x3 Conv2d_0c_1x3 Conv2d_0d_3x1, Conv2d_0b_1x1",
}
_SLIM_HEADS = {
    "AuxLogits/Conv2d_1b_1x1": "aux_logits/proj",
    "AuxLogits/Conv2d_2a_5x5": "aux_logits/Conv",
    "AuxLogits/Conv2d_2b_1x1": "aux_logits/FC",
    "Logits/Conv2d_1c_1x1": "logits/logits",
}


@dataclass(frozen=True)
class Source:
    """What a file holds of the network.

    Attributes:
        kind: what it is, in the words of a message.
        path: where it is.
        arrays: by names of 2016; names that the network has not are kept as they are in the file.
        lacks: beginnings of names that such a file never has.
    """

    kind: str
    path: Path
    arrays: dict[str, Array]
    lacks: tuple[str, ...] = ()


def slim_names() -> dict[str, str]:
    """{TF-Slim's name of a layer: its name of 2016}, the 94 of the trunk and the 4 of the heads."""
    layers = _SLIM_STEM.split()
    for block, branches in _SLIM_BLOCKS.items():
        for number, branch in enumerate(branches.split(", ")):
            layers += [f"Mixed_{block}/Branch_{number}/{layer}" for layer in branch.split()]
    names = {**dict(zip(layers, trunk_names(), strict=True)), **_SLIM_HEADS}
    return {f"InceptionV3/{slim}": ours for slim, ours in names.items()}


def read(path: Path, *, averaged: bool, trunk: list[str]) -> Source:
    """The network's weights in a file, or in a folder that holds one such file.

    Args:
        path: the file; the prefix or any file of a TensorFlow checkpoint; a run directory; an unpacked release.
        averaged: the `ExponentialMovingAverage` twin of each variable that has one, in its place.
        trunk: see `keras_files.read`.

    Raises:
        CheckpointError: it cannot be found, read, or recognised, or has no twins at all.
    """
    path = _file(path)
    try:
        if _starts(path, b"\x89HDF\r\n\x1a\n") or _starts(path, b"PK\x03\x04"):
            source = Source("a Keras file", path, keras_files.read(path, trunk), ("aux_logits/",))
            if averaged:
                raise _no_twins(path)
            return source
        if _is_table(path):
            return _of_tensorflow(path, averaged)
        if _starts(path, b"{", at=8):
            tensors = checkpoint.load(path)
            return _chosen("a checkpoint of shardtune", path, tensors, tensors.__getitem__, averaged)
    except UNREADABLE as error:
        told = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{EXPECTED}, but {path} cannot be read ({told}): fetch it again, or give another.") from error
    raise CheckpointError(f"{EXPECTED}, but {path} is none, or not all of one: fetch it again, or give another.")


def _file(path: Path) -> Path:
    """The file that a folder, or the prefix of a TensorFlow checkpoint, stands for."""
    if path.is_dir():
        run, state = checkpoint.newest(path), path / "checkpoint"
        if run:
            return run[1]
        match = re.search(r'model_checkpoint_path: "(.+)"', state.read_text("utf-8", "replace")) if state.is_file() else None
        found = [_index(path / Path(match[1]).name)] if match else [f for f in sorted(path.iterdir()) if _is_source(f)]
        if len(found) != 1:
            names = ", ".join(f.name for f in found[:5]) or "none"
            raise CheckpointError(f"{EXPECTED}, but the folder {path} has {len(found)} ({names}): give the file itself.")
        path = found[0]
    path = _index(path)
    if not path.is_file():
        raise CheckpointError(f"{EXPECTED}, but there is nothing at {path}: give a file or folder that exists.")
    return path


def _index(path: Path) -> Path:
    """V2 checkpoints are a prefix of several files; .index is the one to begin with."""
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    index = Path(f"{prefix}.index")
    return index if index.is_file() else path


def _is_source(path: Path) -> bool:
    return path.is_file() and (
        _is_table(path)
        or any(_starts(path, magic) for magic in (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"))
        or _starts(path, b"{", at=8)
    )


def _starts(path: Path, magic: bytes, at: int = 0) -> bool:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(len(magic)) == magic


def _is_table(path: Path) -> bool:
    return _starts(path, TABLE_MAGIC, at=max(0, path.stat().st_size - len(TABLE_MAGIC)))


def _of_tensorflow(path: Path, averaged: bool) -> Source:
    reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
    names = reader.get_variable_to_shape_map()
    if not any(name.startswith("InceptionV3/") for name in names):
        return _chosen("a TensorFlow checkpoint", path, names, reader.get_tensor, averaged)
    slim = _chosen("a TF-Slim checkpoint", path, names, reader.get_tensor, averaged)
    layers = slim_names()
    arrays = {}
    for name, array in slim.arrays.items():
        layer, part = re.fullmatch(r"(.*?)((?:/BatchNorm)?/[^/]*)", name).groups()  # type: ignore[union-attr]
        ours = f"{layers[layer]}{part}" if layer in layers else name
        is_dense = ours.endswith(("logits/weights", "FC/weights")) and array.ndim == 4  # a convolution of 1×1 there
        arrays[ours] = array[0, 0] if is_dense else array
    return Source(slim.kind, path, arrays)


def _chosen(kind: str, path: Path, names: Iterable[str], tensor: Callable[[str], Array], averaged: bool) -> Source:
    """The plain variables, or their twins, without what belongs to training alone."""
    chosen = {name: name for name in names if not TRAINING_STATE.fullmatch(name)}
    if averaged:
        twins = {name.removesuffix(TWIN): name for name in names if name.endswith(TWIN)}
        if not twins:
            raise _no_twins(path)
        chosen |= twins
    arrays = {name: np.asarray(tensor(stored)) for name, stored in chosen.items()}
    return Source(kind, path, {name: array for name, array in arrays.items() if array.dtype.kind == "f"})


def _no_twins(path: Path) -> CheckpointError:
    return CheckpointError(f"Averaged weights were asked for, but {path} has none: leave out --pretrained_ema.")
