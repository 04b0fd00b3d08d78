"""Checkpoints as TensorFlow 1 and Keras write them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import named_variables

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
V1, V2 = tf.compat.v1.train.SaverDef.V1, tf.compat.v1.train.SaverDef.V2


def save(path: Path, arrays: Arrays, version: int) -> Path:
    """A checkpoint as TensorFlow 1 wrote it."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        placeholders = {name: tf.compat.v1.placeholder(array.dtype, array.shape) for name, array in arrays.items()}
        variables = {name: tf.compat.v1.Variable(placeholders[name], name=f"v{number}") for number, name in enumerate(arrays)}
        session.run(tf.compat.v1.global_variables_initializer(), {placeholders[name]: array for name, array in arrays.items()})
        tf.compat.v1.train.Saver(variables, write_version=version).save(session, str(path), write_meta_graph=False)
    return path


def in_release_layout(values: Arrays) -> Arrays:
    """The whole layout of the release: averages with other values, slots, the step, and averages of the losses."""
    return {
        **values,
        **{f"{name}{EMA_SUFFIX}": array + 1 for name, array in values.items()},
        **{f"{name}/{slot}": array[:1] for name, array in values.items() for slot in ("RMSProp", "RMSProp_1")},
        "global_step": np.int64(157585) + np.zeros((), np.int64),
        "tower_0/total_loss/avg": np.zeros((), np.float32),
    }


def written_by_keras(model: Any, path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda *_: None)  # it calls .h5 legacy
        (model.save_weights if ".weights." in path.name else model.save)(path)
    return path


def equal(model: Any, expected: Arrays) -> bool:
    return all(np.array_equal(variable, expected[name]) for name, variable in named_variables(model).items())
