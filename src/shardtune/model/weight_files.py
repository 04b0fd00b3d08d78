"""The files that weights come from, each told by its content and read as {name of the 2016 release: array}.

source                                          lacks by nature                       averaged twins
inception-v3-2016-03-01, TensorFlow V1 or V2    –                                     yes
TF-Slim inception_v3.ckpt of 2016-08-28         –                                     where training left some
Keras .h5, .weights.h5, .keras with top         auxiliary head, background class      no
the same without top                            auxiliary head, logits                no
a run directory, or one of its checkpoints      what the image size rules out         yes, except of what was frozen
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import safetensors

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file, keras_files, slim
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.keras_files import Array
from shardtune.runtime.frameworks import tf

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
        match _format(path):
            case "keras":
                if averaged:
                    raise _no_twins(path)
                return Source("a Keras file", path, keras_files.read(path, trunk), ("aux_logits/",))
            case "tensorflow":
                return _of_tensorflow(path, averaged)
            case "safetensors":
                tensors = checkpoint_file.load(path)
                return _chosen("a checkpoint of shardtune", path, tensors, tensors.__getitem__, averaged)
    except UNREADABLE as error:
        told = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{EXPECTED}, but {path} cannot be read ({told}): fetch it again, or give another.") from error
    raise CheckpointError(f"{EXPECTED}, but {path} is none, or not all of one: fetch it again, or give another.")


def _format(path: Path) -> Literal["keras", "tensorflow", "safetensors"] | None:
    with path.open("rb") as file:
        head = file.read(9)
        file.seek(-min(len(TABLE_MAGIC), path.stat().st_size), os.SEEK_END)
        tail = file.read()
    if head.startswith((b"\x89HDF\r\n\x1a\n", b"PK\x03\x04")):
        return "keras"
    if tail == TABLE_MAGIC:
        return "tensorflow"
    return "safetensors" if head[8:] == b"{" else None


def _file(path: Path) -> Path:
    """The file that a folder, or the prefix of a TensorFlow checkpoint, stands for."""
    if path.is_dir():
        run, state = checkpoint_file.latest(path), path / "checkpoint"
        if run:
            return run[1]
        match = re.search(r'model_checkpoint_path: "(.+)"', state.read_text("utf-8", "replace")) if state.is_file() else None
        found = (
            [_index(path / Path(match[1]).name)] if match else [f for f in sorted(path.iterdir()) if f.is_file() and _format(f)]
        )
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


def _of_tensorflow(path: Path, averaged: bool) -> Source:
    reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
    names = reader.get_variable_to_shape_map()
    if not any(name.startswith("InceptionV3/") for name in names):
        return _chosen("a TensorFlow checkpoint", path, names, reader.get_tensor, averaged)
    source = _chosen("a TF-Slim checkpoint", path, names, reader.get_tensor, averaged)
    layers = slim.layer_names()
    arrays = {}
    for name, array in source.arrays.items():
        layer, part = re.fullmatch(r"(.*?)((?:/BatchNorm)?/[^/]*)", name).groups()  # type: ignore[union-attr]
        if f"{layers.get(layer)}{part}" in ("logits/logits/weights", "aux_logits/FC/weights") and array.ndim == 4:
            array = array[0, 0]  # a convolution of 1×1 there
        arrays[f"{layers.get(layer, layer)}{part}"] = array
    return replace(source, arrays=arrays)


def _chosen(kind: str, path: Path, names: Iterable[str], tensor: Callable[[str], Array], averaged: bool) -> Source:
    """The plain variables, or their twins, without what belongs to training alone."""
    chosen = {name: name for name in names if not TRAINING_STATE.fullmatch(name)}
    if averaged:
        twins = {name.removesuffix(EMA_SUFFIX): name for name in names if name.endswith(EMA_SUFFIX)}
        if not twins:
            raise _no_twins(path)
        chosen |= twins
    arrays = {name: np.asarray(tensor(stored)) for name, stored in chosen.items()}
    return Source(kind, path, {name: array for name, array in arrays.items() if array.dtype.kind == "f"})


def _no_twins(path: Path) -> CheckpointError:
    return CheckpointError(f"Averaged weights were asked for, but {path} has none: leave out --pretrained_ema.")
