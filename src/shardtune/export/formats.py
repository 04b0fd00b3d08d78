"""Write a trained model in each format."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.export.config import Format
from shardtune.export.functions import Functions
from shardtune.export.trained import TrainedModel
from shardtune.input.augment import central_crop
from shardtune.input.pipeline import parse
from shardtune.model.batchnorm import EPSILON, BatchNormalization
from shardtune.model.inception import LOGITS_LAYER
from shardtune.runtime.frameworks import keras, tf
from shardtune.runtime.streams import stderr_without

ONNX_OPSET = 18
CALIBRATION_IMAGES = 200
# Largest difference of a probability from the trained model's, by file. TensorFlow computes a SavedModel with its own
# operations; those of the others add in another order, and the last two round weights, or weights and activations.
BOUNDS: dict[Format, dict[str, float]] = {
    "savedmodel": {"saved_model": 1e-5},
    "keras": {"model.keras": 1e-4},
    "onnx": {"model.onnx": 1e-4},
    "tflite": {"model.float32.tflite": 1e-4, "model.float16.tflite": 0.05, "model.int8.tflite": 0.5},
}


def write(kind: Format, trained: TrainedModel, functions: Functions, folder: Path, heartbeat: Callable[[], None]) -> None:
    """Write the files of a format, which `BOUNDS` names, into `folder`.

    Args:
        heartbeat: called between steps of the work.
    """
    if kind == "savedmodel":
        functions.save(functions.signatures, folder / "saved_model")
    elif kind == "keras":
        stock_network(trained).save(folder / "model.keras")
    elif kind == "onnx":
        _write_onnx(functions, folder / "model.onnx")
    else:
        _write_tflite(trained, functions, folder, heartbeat)


def stock_network(trained: TrainedModel) -> Any:
    """The network made of Keras's own layers, so that Keras alone can load it.

    Returns:
        A Keras model: float32 [n, image_size, image_size, 3] in 0 to 255 → [n, classes], probabilities.
    """
    trunk = keras.Model(trained.network.input, trained.network.output["pool"])

    def clone_layer(layer: Any) -> Any:
        if isinstance(layer, BatchNormalization):
            return keras.layers.BatchNormalization(scale=False, epsilon=EPSILON, name=layer.name)
        return type(layer).from_config(layer.get_config())

    clone = keras.models.clone_model(trunk, clone_function=clone_layer)
    clone.set_weights(trunk.get_weights())
    head = keras.layers.Dense(len(trained.classes), "softmax", name="probabilities")
    crops = keras.Input(clone.input.shape[1:], name="crops")
    model = keras.Model(crops, head(clone(keras.layers.Rescaling(1 / 127.5, -1.0)(crops))))
    kernel, biases = trained.network.get_layer(LOGITS_LAYER).get_weights()
    head.set_weights([kernel[:, trained.first_class :], biases[trained.first_class :]])
    return model


def _write_onnx(functions: Functions, path: Path) -> None:
    import tf2onnx

    function = functions.of_images
    tf2onnx.convert.from_function(function, function.input_signature, opset=ONNX_OPSET, output_path=str(path))


def _write_tflite(trained: TrainedModel, functions: Functions, folder: Path, heartbeat: Callable[[], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:  # with which it goes, however this process ends
        # By way of a SavedModel: the converter loses variables of Keras when it is given the function itself.
        functions.save(functions.of_crops, temporary)
        for kind in ("float32", "float16", "int8"):
            heartbeat()
            converter = tf.lite.TFLiteConverter.from_saved_model(temporary)
            if kind != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if kind == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if kind == "int8":
                converter.representative_dataset = lambda: _calibration_crops(trained, heartbeat)
            with stderr_without("^fully_quantize: "), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its own use of what it calls deprecated
                (folder / f"model.{kind}.tflite").write_bytes(converter.convert())


def _calibration_crops(trained: TrainedModel, heartbeat: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Training images from all over the split, as the network sees them, in 0 to 255."""
    reader = trained.readers["train"] if len(trained.readers["train"]) else trained.readers[trained.check_split]
    numbers = np.unique(np.linspace(0, len(reader) - 1, CALIBRATION_IMAGES, dtype=np.int64))
    for record in reader.read(numbers):
        heartbeat()
        jpeg, _, _ = parse(record, boxes=False)
        yield {"crops": ((central_crop(jpeg, trained.image_size) + 1.0) * 127.5)[tf.newaxis]}
