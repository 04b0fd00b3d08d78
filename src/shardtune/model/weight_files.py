"""Read pretrained weights as {name in the 2016 release: array}. The format is detected from the content of the file.

format                                          always absent                         averaged weights
inception-v3-2016-03-01, TensorFlow V1 or V2    –                                     yes
TF-Slim inception_v3.ckpt of 2016-08-28         –                                     if its training kept them
Keras .h5, .weights.h5, .keras with top         auxiliary head, background class      no
the same without top                            auxiliary head, logits                no
a run directory, or one of its checkpoints      auxiliary head below 107 pixels       yes, except of frozen layers
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import safetensors

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file, keras_files, slim, tensorflow_files
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import LOGITS_BIASES
from shardtune.model.keras_files import Array
from shardtune.runtime.frameworks import tf

MAX_REASON_CHARACTERS = 200
# State of training that checkpoints also hold: TensorFlow 1's optimizers, averages of losses and sums of moving averages, and
# shardtune's optimizer.
TRAINING_STATE = re.compile(
    r".*/(ExponentialMovingAverage|avg|(RMSProp|Momentum|Adam|Adagrad|Adadelta|Ftrl|biased|local_step)(_\d+)?)"
    r"|global_step|beta[12]_power|(optimizer|loss_scale)/.*"
)
# What the libraries raise for files that are truncated, damaged or of another kind.
UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, RuntimeError, EOFError, NotImplementedError),
    *(BadZipFile, safetensors.SafetensorError, tf.errors.OpError),
)


@dataclass(frozen=True)
class WeightFile:
    """The content of a file of weights.

    Attributes:
        kind: the format in words, for messages: "a Keras file".
        arrays: by names in the 2016 release; arrays that the network does not have keep their names in the file.
        absent_prefixes: prefixes of the names that files of this format never have.
    """

    kind: str
    path: Path
    arrays: dict[str, Array]
    absent_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorFlowSummary:
    """Of a checkpoint of TensorFlow 1.

    Attributes:
        num_classes: its outputs.
        has_averages: whether it has averaged weights.
        step: its `global_step`; 0 if it has none.
    """

    num_classes: int
    has_averages: bool
    step: int


def read(path: Path, *, averaged: bool, trunk: list[str]) -> WeightFile:
    """Read the network's weights from a file, or from a directory that holds one such file.

    Args:
        path: the file; the prefix or any file of a TensorFlow checkpoint; a run directory; an unpacked release.
        averaged: take the moving average of each variable that has one.
        trunk: see `keras_files.read`.

    Raises:
        CheckpointError: the file cannot be found, read, or recognised, or it has no averages at all.
    """
    path = _resolve_path(path)
    with _reporting_damage(path):
        match _detect_format(path):
            case "keras":
                if averaged:
                    raise _no_averages_error(path)
                return WeightFile("a Keras file", path, keras_files.read(path, trunk), ("aux_logits/",))
            case "tensorflow":
                return _read_tensorflow(path, averaged)
            case "safetensors":
                tensors = checkpoint_file.load(path)
                return _select_variables("a checkpoint of shardtune", path, tensors, tensors.__getitem__, averaged)
    raise CheckpointError(
        f"{path} is no checkpoint of a known format, or not complete.",
        "Give a checkpoint of Inception v3 (TensorFlow, TF-Slim or Keras) or a run directory.",
    )


def describe_tensorflow(path: Path) -> TensorFlowSummary:
    """What a checkpoint of TensorFlow 1 says of itself.

    Args:
        path: as for `read`.

    Raises:
        CheckpointError: it cannot be found or read, or is not one of Inception v3.
    """
    path = _resolve_path(path)
    with _reporting_damage(path):
        reader = _open_tensorflow(path)
        names = reader.get_variable_to_shape_map()
        biases = [name for name in (LOGITS_BIASES, slim.LOGITS_BIASES) if name in names]
        if not biases:
            raise CheckpointError(
                f"{path} is no checkpoint of Inception v3: it has neither {LOGITS_BIASES} (research/inception) nor "
                f"{slim.LOGITS_BIASES} (TF-Slim).",
                "Give another one.",
            )
        return TensorFlowSummary(
            num_classes=len(reader.get_tensor(biases[0])),  # read from the data, so that a missing data file is found
            has_averages=any(name.endswith(EMA_SUFFIX) for name in names),
            step=int(reader.get_tensor("global_step")) if "global_step" in names else 0,
        )


@contextmanager
def _reporting_damage(path: Path) -> Iterator[None]:
    """What is raised for a damaged file becomes a CheckpointError."""
    try:
        yield
    except UNREADABLE as error:
        reason = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({reason[:MAX_REASON_CHARACTERS]}).",
            "Download it again, or give another one.",
        ) from error


def _detect_format(path: Path) -> Literal["keras", "tensorflow", "safetensors"] | None:
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith((b"\x89HDF\r\n\x1a\n", b"PK\x03\x04")):
        return "keras"
    if tensorflow_files.is_table(path):
        return "tensorflow"
    return "safetensors" if head[8:] == b"{" else None


def _resolve_path(path: Path) -> Path:
    """The file to read for a file, a directory, or the prefix of a TensorFlow checkpoint."""
    path = tensorflow_files.main_file(_find_in_directory(path) if path.is_dir() else path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.", "Check the path.")
    return path


def _find_in_directory(directory: Path) -> Path:
    if newest := checkpoint_file.latest(directory):
        return newest[1]
    if name := tensorflow_files.named_in_state(directory):
        return directory / name
    found = [path for path in sorted(directory.iterdir()) if path.is_file() and _detect_format(path)]
    if len(found) != 1:
        names = f" ({checkpoint_file.join_first([path.name for path in found])})" if found else ""
        raise CheckpointError(f"The directory {directory} has {len(found)} checkpoints{names}.", "Give the path of one.")
    return found[0]


def _read_tensorflow(path: Path, averaged: bool) -> WeightFile:
    reader = _open_tensorflow(path)
    names = reader.get_variable_to_shape_map()
    if not any(name.startswith("InceptionV3/") for name in names):
        return _select_variables("a TensorFlow checkpoint", path, names, reader.get_tensor, averaged)
    file = _select_variables("a TF-Slim checkpoint", path, names, reader.get_tensor, averaged)
    return replace(file, arrays=_rename_slim(file.arrays))


def _open_tensorflow(path: Path) -> Any:
    return tf.train.load_checkpoint(str(path).removesuffix(".index"))


def _rename_slim(arrays: dict[str, Array]) -> dict[str, Array]:
    """TF-Slim's arrays by their names in the 2016 release."""
    layers = slim.layer_names()
    renamed = {}
    for slim_name, array in arrays.items():
        layer, part = re.fullmatch(r"(.*?)((?:/BatchNorm)?/[^/]*|)", slim_name).groups()  # type: ignore[union-attr]
        name = f"{layers.get(layer, layer)}{part}"
        # TF-Slim's final layers are convolutions of 1×1.
        is_dense = name in ("logits/logits/weights", "aux_logits/FC/weights") and array.ndim == 4
        renamed[name] = array[0, 0] if is_dense else array
    return renamed


def _select_variables(kind: str, path: Path, names: Iterable[str], load: Callable[[str], Array], averaged: bool) -> WeightFile:
    """The network's variables, or the averages of those that have one, without the state of training."""
    stored_names = {name: name for name in names if not TRAINING_STATE.fullmatch(name)}
    if averaged:
        averages = {name.removesuffix(EMA_SUFFIX): name for name in names if name.endswith(EMA_SUFFIX)}
        if not averages:
            raise _no_averages_error(path)
        stored_names |= averages
    arrays = {name: np.asarray(load(stored_name)) for name, stored_name in stored_names.items()}
    return WeightFile(kind, path, {name: array for name, array in arrays.items() if array.dtype.kind == "f"})


def _no_averages_error(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} has no averaged weights.", "Leave out --pretrained_ema; for eval, pass --no_ema.")
