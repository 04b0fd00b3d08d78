"""Models that `shardtune export` wrote, run by what runs them elsewhere: TensorFlow, Keras, onnxruntime or LiteRT."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.errors import CheckpointError
from shardtune.model.checkpoint_file import join_first
from shardtune.runtime.frameworks import keras, tf

DESCRIPTION_NAME = "model.json"
VERSION = 1
Probabilities = npt.NDArray[np.float32]  # [n, classes]
_FIELDS = {"classes": list, "labels": list, "models": dict, "image_size": int, "conversion": dict, "provenance": dict}
Predict = Callable[[npt.NDArray[np.float32]], Probabilities]


@dataclass(frozen=True)
class ExportedModel:
    """One model of an export.

    Attributes:
        path: a file, or the folder of a SavedModel.
        description: model.json of the export.
    """

    path: Path
    description: Mapping[str, Any]

    @property
    def classes(self) -> Sequence[str]:
        """The name of each output."""
        return list(map(str, self.description["classes"]))

    @property
    def labels(self) -> Sequence[str]:
        """The classes of the data set that it was trained on, without the background class."""
        return list(map(str, self.description["labels"]))

    @property
    def first_class(self) -> int:
        """The label for which output 0 stands: 1 where the background class is not given out."""
        return 1 + len(self.labels) - len(self.classes)

    def load(self, num_threads: int) -> Predict:
        """The function from central crops, float32 [n, size, size, 3] in 0 to 255, to probabilities.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        if self.path.suffix == ".onnx" and find_spec("onnxruntime") is None:
            raise CheckpointError(f"{self.path} needs onnxruntime.", "Run pip install 'shardtune[onnx]'.")
        try:
            return _load(self.path, int(self.description["image_size"]), num_threads)
        except Exception as error:  # each of the four programs has errors of its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"{self.path} cannot be loaded ({reason}).", "Export it again.") from error


def find_exported(path: Path) -> ExportedModel | None:
    """The model at `path`: an export with one model, or one of the models in an export. None if it is neither.

    Raises:
        CheckpointError: the export has several models, or its model.json cannot be read.
    """
    if (path / DESCRIPTION_NAME).is_file() and (description := read_description(path / DESCRIPTION_NAME)):
        names = sorted(description["models"])
        if len(names) != 1:
            raise CheckpointError(f"The export {path} has {len(names)} models.", f"Give the path of one: {join_first(names)}.")
        return ExportedModel(path / names[0], description)
    model = path.absolute()
    if (model.parent / DESCRIPTION_NAME).is_file() and (description := read_description(model.parent / DESCRIPTION_NAME)):
        return ExportedModel(model, description) if model.name in description["models"] else None
    return None


def read_description(path: Path) -> dict[str, Any] | None:
    """A model.json; None for that of another program.

    Raises:
        CheckpointError: it cannot be read, or is of another version.
    """
    advice = "Export the run again."
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error!r}).", advice) from error
    if not isinstance(description, dict) or not {"version", "models", "provenance"} <= description.keys():
        return None
    if description["version"] != VERSION:
        raise CheckpointError(f"{path} has version {description['version']}, this shardtune reads version {VERSION}.", advice)
    if not all(isinstance(description.get(name), kind) for name, kind in _FIELDS.items()):
        raise CheckpointError(f"{path} describes no export: a field is missing or has another type.", advice)
    return description


def _load(path: Path, image_size: int, num_threads: int) -> Predict:
    if path.is_dir():
        return load_saved_model(path)
    if path.suffix == ".onnx":
        run = load_onnx(path, num_threads)
        border = border_of_whole_image(image_size)
        return lambda crops: run(np.pad(crops, [(0, 0), (border, border), (border, border), (0, 0)]))
    return load_keras(path) if path.suffix == ".keras" else load_tflite(path, num_threads)


def border_of_whole_image(size: int) -> int:
    """How many pixels around a square of `size` give an image whose central crop is that square, not resized.

    `central_crop_of_decoded` cuts int(0.0625 × side) off each edge.
    """
    return next(border for border in range(size) if int(0.0625 * (size + 2 * border)) == border)


def load_saved_model(path: Path) -> Predict:
    signature = tf.saved_model.load(str(path)).signatures["crops"]
    return lambda crops: np.asarray(signature(crops=tf.constant(crops))["probabilities"])


def load_onnx(path: Path, num_threads: int = 0) -> Predict:
    """Like the others, but it takes whole images, of which it takes the central crop itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["probabilities"], {"images": images})[0])


def load_keras(path: Path) -> Predict:
    model = keras.models.load_model(path)
    return lambda crops: np.asarray(model(crops, training=False))


def load_tflite(path: Path, num_threads: int | None = None) -> Predict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it will move to another package
        run = tf.lite.Interpreter(str(path), num_threads=num_threads).get_signature_runner()
    return lambda crops: np.asarray(run(crops=crops)["probabilities"])
