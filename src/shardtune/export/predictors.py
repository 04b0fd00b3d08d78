"""Compute probabilities of JPEGs with an export, by the inputs that it has for people: files, or what comes nearest to them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardtune.evaluate.exported import Probabilities, load_keras, load_onnx, load_tflite
from shardtune.input.augment import central_crop, central_part
from shardtune.runtime.frameworks import tf

Predict = Callable[[list[bytes]], Probabilities]  # NaN where an export does not give them out


def load(path: Path, classes: Sequence[str], image_size: int) -> Predict:
    """The function from RGB JPEGs to probabilities of an export.

    Args:
        path: a file, or the folder of a SavedModel.
        classes: the names of its outputs.
        image_size: side in pixels of the crops that it takes, if it takes crops.
    """
    if path.is_dir():
        return _load_saved_model(path, classes)
    if path.suffix == ".onnx":
        run = load_onnx(path)
        # One by one: they have many sizes.
        return lambda jpegs: np.concatenate([run(whole_image(jpeg)[np.newaxis]) for jpeg in jpegs])
    predict = load_keras(path) if path.suffix == ".keras" else load_tflite(path)
    return lambda jpegs: predict(np.stack([(central_crop(jpeg, image_size) + 1.0) * 127.5 for jpeg in jpegs]))


def _load_saved_model(path: Path, classes: Sequence[str]) -> Predict:
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    numbers = {name.encode(): number for number, name in enumerate(classes)}

    def predict(jpegs: list[bytes]) -> Probabilities:
        best = signature(files=tf.constant(jpegs))
        probabilities = np.full((len(jpegs), len(classes)), np.nan, np.float32)
        columns = np.vectorize(numbers.__getitem__, otypes=[np.int64])(best["classes"].numpy())
        np.put_along_axis(probabilities, columns, best["probabilities"].numpy(), axis=1)
        return probabilities

    return predict


def whole_image(jpeg: bytes) -> npt.NDArray[np.float32]:
    """An image of which the central crop is that of `jpeg` to the last bit: float32 [h, w, 3] in 0 to 255, black around it."""
    part = central_part(jpeg)
    edge = (tf.io.extract_jpeg_shape(jpeg)[:2] - tf.shape(part)[:2]) // 2
    return np.asarray(tf.cast(tf.pad(part, [[edge[0], edge[0]], [edge[1], edge[1]], [0, 0]]), tf.float32))
