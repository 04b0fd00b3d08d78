import json
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file, inception, slim, weight_files
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import named_variables, trunk_names
from shardtune.model.pretrained import restore

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


@pytest.fixture(scope="module")
def values(small_model: Any) -> Arrays:
    generator = np.random.default_rng(9)
    return {name: generator.random(variable.shape, np.float32) for name, variable in named_variables(small_model).items()}


@pytest.fixture(scope="module")
def released(values: Arrays, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The 2016 layout in both formats, each in a folder as the release's."""
    folders = {version: tmp_path_factory.mktemp(f"v{version}") for version in (V1, V2)}
    return {version: save(folder / "model.ckpt-7", in_release_layout(values), version) for version, folder in folders.items()}


@pytest.fixture(scope="module")
def of_keras() -> Any:
    """InceptionV3 with 3 classes, and batch normalisation that does not start as the identity."""
    model = keras.applications.InceptionV3(weights=None, classes=3, input_shape=(75, 75, 3), classifier_activation=None)
    generator = np.random.default_rng(2)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(generator.random(variable.shape) + 0.5)
    return model


def equal(model: Any, expected: Arrays) -> bool:
    return all(np.array_equal(variable, expected[name]) for name, variable in named_variables(model).items())


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("averaged", [False, True])
def test_the_2016_layout(small_model: Any, values: Arrays, released: dict[int, Path], version: int, averaged: bool) -> None:
    restored = restore(small_model, released[version], averaged=averaged)
    assert (restored.kind, len(restored.restored)) == ("a TensorFlow checkpoint", len(values))
    assert equal(small_model, {name: array + averaged for name, array in values.items()})


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


class Marker:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def pickled(folder: Path) -> bytes:
    return pickle.dumps(Marker(folder / "was run"))


def archive(folder: Path) -> bytes:
    """As PyTorch's: a zip with a pickle."""
    with zipfile.ZipFile(folder / "made", "w") as file:
        file.writestr("archive/data.pkl", pickled(folder))
        file.writestr("config.json", '{"class_name": "Lambda"}')
    return (folder / "made").read_bytes()


def linked(folder: Path) -> bytes:
    """HDF5 in Keras's layout that points to arrays in another file."""
    with h5py.File(folder / "secret", "w") as file:
        file.attrs["layer_names"] = ["a"]
        file["a/kernel"] = np.zeros(8, np.float32)
        file["b"] = np.zeros((3, 3, 3, 32), np.float32)
    with h5py.File(folder / "made", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(folder / "secret"), "/")
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(folder / "secret"), "b")
        file.create_dataset("layers/conv2d_1/vars/0", (8,), "f4", external=[(str(folder / "secret"), 0, 32)])
    return (folder / "made").read_bytes()


def bomb(folder: Path) -> bytes:
    with h5py.File(folder / "made", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (1 << 40,), "f4", chunks=(1 << 20,))
    return (folder / "made").read_bytes()


def other_keras_model(folder: Path) -> bytes:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    return written_by_keras(model, folder / "made.keras").read_bytes()


UNKNOWN = "is no checkpoint of a known format, or not complete"
FOREIGN: list[tuple[Callable[[Path], bytes], str]] = [
    (lambda _: b"", UNKNOWN),
    (lambda _: b"not a checkpoint at all", UNKNOWN),
    (lambda _: b"\0" * 5000, UNKNOWN),
    (pickled, UNKNOWN),
    (archive, "no item named 'model.weights.h5'"),
    (linked, "0 convolutions, 0 batch normalisations and 0 other layers"),
    (bomb, "declares more data"),
    (other_keras_model, "0 convolutions, 0 batch normalisations and 1 other layers"),
]


@pytest.mark.parametrize(("content", "reason"), FOREIGN, ids=lambda value: getattr(value, "__name__", None))
def test_foreign_files_are_refused(small_model: Any, content: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content(tmp_path))
    with pytest.raises(CheckpointError, match=rf"{path} .*{reason}.*\. (Download it again, or give another one|Give .*)\.$"):
        restore(small_model, path)
    assert not (tmp_path / "was run").exists()


def test_a_checkpoint_that_is_not_there(small_model: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"no checkpoint at {tmp_path / 'model.ckpt-1'}\. Check the path"):
        restore(small_model, tmp_path / "model.ckpt-1")
    with pytest.raises(CheckpointError, match=r"has 0 checkpoints\. Give the path of one"):
        restore(small_model, tmp_path)


def test_a_tensorflow_checkpoint_of_another_model(small_model: Any, tmp_path: Path) -> None:
    prefix = tf.train.Checkpoint(dense=tf.Variable([1.0, 2.0])).write(str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"378 missing \(conv0/weights, .* and 373 more\); 1 unexpected \(dense/"):
        restore(small_model, Path(prefix))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("kind", ["V1", "V2 index", "V2 data", ".keras", ".h5", ".weights.h5", "safetensors"])
def test_files_that_are_cut_short(
    small_model: Any, released: dict[int, Path], of_keras: Any, values: Arrays, kind: str, keep: float, tmp_path: Path
) -> None:
    if kind.startswith("V"):
        for path in released[V1 if kind == "V1" else V2].parent.iterdir():
            shutil.copy(path, tmp_path)
        names = {"V1": "model.ckpt-7", "V2 index": "model.ckpt-7.index", "V2 data": "model.ckpt-7.data-00000-of-00001"}
        path, given = tmp_path / names[kind], tmp_path / "model.ckpt-7"
    else:
        given = path = (
            checkpoint_file.save(tmp_path, 1, values)
            if kind == "safetensors"
            else written_by_keras(of_keras, tmp_path / f"saved{kind}")
        )
    with path.open("r+b") as file:
        file.truncate(int(keep * path.stat().st_size))
    before = named_variables(small_model)["conv0/weights"].numpy()
    with pytest.raises(
        CheckpointError, match=r"Download it again|Remove it to use the one before|Give a checkpoint of Inception v3"
    ):
        restore(small_model, given)
    assert np.array_equal(before, named_variables(small_model)["conv0/weights"])


def test_a_flipped_bit(small_model: Any, released: dict[int, Path], tmp_path: Path) -> None:
    for path in released[V2].parent.iterdir():
        shutil.copy(path, tmp_path)
    path = tmp_path / "model.ckpt-7.data-00000-of-00001"
    with path.open("r+b") as file:
        file.seek(1000)  # in a weight, not in a slot that is never read
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(CheckpointError, match="cannot be read"):
        restore(small_model, tmp_path / "model.ckpt-7")


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


def stand_in(name: str, shape: list[int]) -> Array:
    """A variable of the stand-in for TF-Slim's checkpoint."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("weights"):
        return np.asarray(generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1])), np.float32)
    if name.endswith("moving_variance"):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    return np.asarray(0.1 * generator.standard_normal(shape), np.float32)


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
