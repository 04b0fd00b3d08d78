"""Checkpoints as TensorFlow 1 and Keras write them."""

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.model import slim
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import named_variables

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
V1, V2 = tf.compat.v1.train.SaverDef.V1, tf.compat.v1.train.SaverDef.V2


def save(path: Path, arrays: Arrays, version: int) -> Path:
    """A checkpoint as TensorFlow 1 wrote it."""
    path.parent.mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        placeholders = {name: tf.compat.v1.placeholder(array.dtype, array.shape) for name, array in arrays.items()}
        variables = {name: tf.compat.v1.Variable(placeholders[name], name=f"v{number}") for number, name in enumerate(arrays)}
        session.run(tf.compat.v1.global_variables_initializer(), {placeholders[name]: array for name, array in arrays.items()})
        tf.compat.v1.train.Saver(variables, write_version=version).save(session, str(path), write_meta_graph=False)
    return path


def in_release_layout(values: Arrays, averages: Arrays | None = None) -> Arrays:
    """All that the trainer of research/inception saves: averages, here other values than the variables', the optimizer's slots,
    the step, averages of the losses, and what TensorFlow 1.x adds for each moving mean of a tower."""
    means = [name for name in values if name.endswith("/moving_mean")]
    parts = [f"{part}{tower}" for part in ("biased", "local_step") for tower in ("", "_1")]
    return {
        **values,
        **{f"{name}{EMA_SUFFIX}": array + 1 for name, array in values.items()},
        **{f"{name}{EMA_SUFFIX}": array for name, array in (averages or {}).items()},
        **{f"{name}/{slot}": array[:1] for name, array in values.items() for slot in ("RMSProp", "RMSProp_1")},
        **{f"{name.rpartition('/')[0]}/{name}/{part}": np.zeros(1, np.float32) for name in means for part in parts},
        "global_step": np.float32(2000) + np.zeros((), np.float32),
        "tower_0/total_loss/avg": np.zeros((), np.float32),
        "tower_0/total_loss/avg/biased": np.zeros((), np.float32),
    }


def in_slim_layout(values: Arrays) -> Arrays:
    """The same variables by TF-Slim's names, in its shapes."""
    names = {ours: theirs for theirs, ours in slim.layer_names().items()}
    arrays = {}
    for name, array in values.items():
        layer, _, part = name.replace("/BatchNorm/", "/BatchNorm:").rpartition("/")
        is_dense = layer in ("logits/logits", "aux_logits/FC") and part == "weights"
        arrays[f"{names[layer]}/{part.replace(':', '/')}"] = array[np.newaxis, np.newaxis] if is_dense else array
    return arrays


def auxiliary_head(num_classes: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the variables of the auxiliary head for 299 pixels."""
    layers = {"proj": (1, 1, 768, 128), "Conv": (5, 5, 128, 768)}
    shapes = {f"aux_logits/{layer}/weights": shape for layer, shape in layers.items()}
    for layer, shape in layers.items():
        shapes |= {f"aux_logits/{layer}/BatchNorm/{part}": shape[-1:] for part in ("beta", "moving_mean", "moving_variance")}
    return {**shapes, "aux_logits/FC/weights": (768, num_classes), "aux_logits/FC/biases": (num_classes,)}


def stand_in(name: str, shape: Iterable[int]) -> Array:
    """A random value for a variable, by its name, with which activations neither vanish nor explode."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    shape = tuple(shape)
    if name.endswith("weights"):
        return np.asarray(generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1])), np.float32)
    if name.endswith("moving_variance"):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    return np.asarray(0.1 * generator.standard_normal(shape), np.float32)


def written_by_keras(model: Any, path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda *_: None)  # it calls .h5 legacy
        (model.save_weights if ".weights." in path.name else model.save)(path)
    return path


def equal(model: Any, expected: Arrays) -> bool:
    return all(np.array_equal(variable, expected[name]) for name, variable in named_variables(model).items())
