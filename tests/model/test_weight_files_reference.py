"""Checkpoints of 2016 and of TF-Slim compute what their own graphs compute."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shardtune.model import checkpoint_file, inception, slim
from shardtune.model.inception import named_variables, trunk_names
from shardtune.model.pretrained import restore
from tests.model.checkpoints import V2, Array, equal, in_release_layout, save, stand_in


def golden(model: Any, directory: Path, images: Array) -> dict[str, float]:
    """Largest differences between what the model and the original graph compute, relative to the largest value."""
    expected = np.load(directory / "golden.npz")
    probe = keras.Model(model.input, {**model.output, "mixed8_mean": model.get_layer("mixed8").output})
    found = probe(images.astype(np.float32) / 127.5 - 1, training=False)
    found["mixed8_mean"] = tf.reduce_mean(found["mixed8_mean"], [1, 2])
    return {
        name: float(np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max())
        for name in ("logits", "aux_logits", "pool", "mixed8_mean")
    }


@pytest.fixture(scope="module")
def full_model() -> Any:
    return inception.build(1001, 299)


@pytest.fixture(scope="module")
def images(shared_data: Path) -> Array:
    return np.asarray(np.load(shared_data / "inception-v3-2016-03-01" / "golden.npz")["images"])


def test_the_2016_checkpoint_computes_what_the_2016_graph_computes(
    full_model: Any, images: Array, shared_data: Path, tmp_path: Path
) -> None:
    directory = shared_data / "inception-v3-2016-03-01"
    restored = restore(full_model, directory)
    assert (len(restored.restored), restored.initialized) == (388, [])
    assert max(golden(full_model, directory, images).values()) < 1e-4
    before = {name: variable.numpy() for name, variable in named_variables(full_model).items()}
    stored = dict(tf.train.list_variables(str(directory / "model.ckpt-157585")))
    assert before.keys() == stored.keys()
    outputs = full_model(images[:1].astype(np.float32), training=False)

    checkpoint_file.save(tmp_path, 3, before)
    for variable in named_variables(full_model).values():
        variable.assign(np.zeros(variable.shape))
    restore(full_model, tmp_path)
    assert equal(full_model, before)
    again = full_model(images[:1].astype(np.float32), training=False)
    assert all(np.array_equal(outputs[name], again[name]) for name in outputs)


def test_what_its_trainer_would_save_computes_the_same(
    full_model: Any, images: Array, shared_data: Path, tmp_path: Path
) -> None:
    directory = shared_data / "inception-v3-2016-03-01"
    reader = tf.train.load_checkpoint(str(directory / "model.ckpt-157585"))
    released = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    last = {name: array * 0.9 for name, array in released.items()}
    path = save(tmp_path / "model.ckpt-1999", in_release_layout(last, released), V2)
    assert restore(full_model, path, averaged=True).initialized == []
    assert equal(full_model, released)
    assert max(golden(full_model, directory, images).values()) < 1e-4


def test_a_tf_slim_checkpoint_computes_what_tf_slim_s_graph_computes(
    full_model: Any, images: Array, shared_data: Path, tmp_path: Path
) -> None:
    directory = shared_data / "inception-v3-slim"
    variables = {name: stand_in(name, shape) for name, shape in json.loads((directory / "variables.json").read_text())}
    path = save(tmp_path / "inception_v3.ckpt", {**variables, "global_step": np.zeros((), np.int64)}, V2)
    restored = restore(full_model, path)
    assert (restored.kind, len(restored.restored), restored.initialized) == ("a TF-Slim checkpoint", 388, [])
    assert max(golden(full_model, directory, images).values()) < 1e-4
    # Each is used exactly once: all are different, and what the network holds is all of them.
    used = {variable.numpy().tobytes() for variable in named_variables(full_model).values()}
    assert used == {array.tobytes() for array in variables.values()}
    assert len(used) == len(variables) == 388


def test_each_layer_has_one_name_in_tf_slim() -> None:
    names = slim.layer_names()
    assert len(names) == len(set(names.values())) == 98
    assert set(trunk_names()) < set(names.values())
