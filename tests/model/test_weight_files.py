"""Checkpoints of each format give the network their weights."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file, inception, weight_files
from shardtune.model.inception import named_variables
from shardtune.model.pretrained import restore
from tests.model.checkpoints import V1, V2, Array, Arrays, equal, in_slim_layout, save, written_by_keras


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("averaged", [False, True])
def test_the_2016_layout(small_model: Any, values: Arrays, released: dict[int, Path], version: int, averaged: bool) -> None:
    restored = restore(small_model, released[version], averaged=averaged)
    assert (restored.kind, len(restored.restored)) == ("a TensorFlow checkpoint", len(values))
    assert equal(small_model, {name: array + averaged for name, array in values.items()})


def test_the_state_of_tf_slim_s_optimizers_is_left_out(small_model: Any, values: Arrays, tmp_path: Path) -> None:
    slots = ("Adadelta", "Adadelta_1", "Adagrad", "Adam", "Adam_1", "Ftrl", "Ftrl_1", "Momentum", "RMSProp", "RMSProp_1")
    state = {f"InceptionV3/Conv2d_1a_3x3/weights/{slot}": np.zeros(1, np.float32) for slot in slots}
    arrays = {**in_slim_layout(values), **state, "beta1_power": np.zeros(1, np.float32)}
    restore(small_model, save(tmp_path / "model.ckpt-7", arrays, V2))
    assert equal(small_model, values)
    with pytest.raises(CheckpointError, match=r": 1 unexpected \(power\)\. Give another checkpoint\.$"):
        restore(small_model, save(tmp_path / "model.ckpt-8", {**arrays, "power": np.zeros(1, np.float32)}, V2))


def test_any_path_of_a_checkpoint_finds_it(released: dict[int, Path]) -> None:
    def conv0(path: Path) -> Array:
        return weight_files.read(path, averaged=False, trunk=[]).arrays["conv0/weights"]

    index = released[V2].with_name("model.ckpt-7.index")
    expected = conv0(released[V2])
    for path in (index, released[V2].with_name("model.ckpt-7.data-00000-of-00001"), released[V2].parent, released[V1].parent):
        assert np.array_equal(conv0(path), expected)


def test_a_folder_without_tensorflow_s_checkpoint_file(released: dict[int, Path], tmp_path: Path) -> None:
    shutil.copy(released[V1], tmp_path / "one")
    (tmp_path / "README.txt").write_text("Inception v3")
    assert "conv0/weights" in weight_files.read(tmp_path, averaged=False, trunk=[]).arrays
    shutil.copy(released[V1], tmp_path / "two")
    with pytest.raises(
        CheckpointError, match=rf"The directory {tmp_path} has 2 checkpoints \(one, two\)\. Give the path of one"
    ):
        weight_files.read(tmp_path, averaged=False, trunk=[])


def test_tensorflow_s_checkpoint_file_leads_to_no_other_folder(released: dict[int, Path], tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{released[V1]}"')
    with pytest.raises(CheckpointError, match=f"no checkpoint at {tmp_path / 'model.ckpt-7'}"):
        weight_files.read(tmp_path, averaged=False, trunk=[])


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("top", [True, False])
def test_keras_files(of_keras: Any, small_model: Any, suffix: str, top: bool, tmp_path: Path) -> None:
    reference = of_keras if top else keras.Model(of_keras.input, of_keras.get_layer("avg_pool").output)
    renamed = written_by_keras(reference, tmp_path / f"saved{suffix}").rename(tmp_path / "weights-of-unknown-kind")
    images = np.random.default_rng(1).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    if top:
        assert restore(small_model, renamed).kind == "a Keras file"
        logits = small_model(images, training=False)["logits"].numpy()
        assert np.allclose(logits[:, 1:], of_keras(images, training=False), rtol=1e-4, atol=1e-6)
        assert not logits[:, 0].any()  # the background class, of zeros
    else:
        with pytest.raises(CheckpointError, match=r"2 missing \(logits/logits/.*\)\. Pass --fine_tune"):
            restore(small_model, renamed)
        assert restore(small_model, renamed, fine_tune=True).initialized == ["logits/logits/weights", "logits/logits/biases"]
        pool = keras.Model(of_keras.input, of_keras.get_layer("avg_pool").output)(images, training=False)
        assert np.allclose(small_model(images, training=False)["pool"], pool, rtol=1e-4, atol=1e-6)


def test_weights_in_the_layout_of_keras_2(of_keras: Any, small_model: Any, tmp_path: Path) -> None:
    # That of inception_v3_weights_tf_dim_ordering_tf_kernels.h5: layers without weights are groups too.
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in of_keras.layers]
        for layer in of_keras.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{variable.name}:0".encode() for variable in layer.weights]
            for variable in layer.weights:
                group[f"{layer.name}/{variable.name}:0"] = variable.numpy()
    restore(small_model, tmp_path / "w.h5")
    images = np.random.default_rng(1).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    logits = small_model(images, training=False)["logits"]
    assert np.allclose(logits[:, 1:], of_keras(images, training=False), rtol=1e-4, atol=1e-6)


def test_layers_that_keras_files_lack_start_at_random(of_keras: Any, tmp_path: Path) -> None:
    model = inception.build(4, 107)
    restored = restore(model, written_by_keras(of_keras, tmp_path / "w.weights.h5"))
    assert {name.split("/")[0] for name in restored.initialized} == {"aux_logits"}
    assert set(restored.restored) | set(restored.initialized) == set(named_variables(model))


def test_keras_files_have_no_averaged_weights(of_keras: Any, small_model: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no averaged weights\. Leave out --pretrained_ema"):
        restore(small_model, written_by_keras(of_keras, tmp_path / "w.weights.h5"), averaged=True)


def test_a_run_directory_gives_its_newest_checkpoint(small_model: Any, values: Arrays, tmp_path: Path) -> None:
    checkpoint_file.save(tmp_path, 1, {"conv0/weights": np.zeros(1)})
    checkpoint_file.save(tmp_path, 2, values)
    (tmp_path / "config.json").write_text("{}")
    assert restore(small_model, tmp_path).path == tmp_path / "checkpoints" / "step-00000002.safetensors"
    assert equal(small_model, values)
