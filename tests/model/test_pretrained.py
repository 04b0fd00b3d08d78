import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from shardtune.errors import CheckpointError
from shardtune.model import inception
from shardtune.model.inception import FINAL_LAYERS, named_variables
from shardtune.model.pretrained import restore


@pytest.fixture(scope="module")
def written(small_model: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A TensorFlow checkpoint (V2 format) for `small_model`, with values of its own, and these values."""
    generator = np.random.default_rng(4)
    values = {n: generator.normal(size=v.shape).astype(np.float32) for n, v in named_variables(small_model).items()}
    prefix = tmp_path_factory.mktemp("checkpoint") / "model.ckpt-7"
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=list(values.values())
    )
    return prefix, values


def test_every_variable_gets_its_namesake(small_model: Any, written: tuple[Path, dict[str, Any]]) -> None:
    prefix, values = written
    assert restore(small_model, prefix, fine_tune=False) == len(values)
    assert all(np.array_equal(variable, values[name]) for name, variable in named_variables(small_model).items())


def test_fine_tuning_leaves_the_final_layers_as_they_are(small_model: Any, written: tuple[Path, dict[str, Any]]) -> None:
    prefix, values = written
    variables = named_variables(small_model)
    for variable in variables.values():
        variable.assign(tf.fill(variable.shape, 7.0))
    assert restore(small_model, prefix, fine_tune=True) == len(values) - 2
    for name, variable in variables.items():
        expected = np.full(variable.shape, 7.0) if name.startswith(FINAL_LAYERS) else values[name]
        assert np.array_equal(variable, expected)


def test_other_classes_need_fine_tune(written: tuple[Path, dict[str, Any]]) -> None:
    prefix, values = written
    model = inception.build(9, 75, batch_norm_decay=0.9, seed=1)
    before = named_variables(model)["conv0/weights"].numpy()
    with pytest.raises(
        CheckpointError, match=r"logits/logits/weights is \[2048, 4\] there and \[2048, 9\] here\): add --fine_tune"
    ):
        restore(model, prefix, fine_tune=False)
    assert np.array_equal(before, named_variables(model)["conv0/weights"])  # nothing is half restored
    assert restore(model, prefix, fine_tune=True) == len(values) - 2


def test_a_checkpoint_that_is_not_there(small_model: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no checkpoint at {tmp_path / 'model.ckpt-1'}"):
        restore(small_model, tmp_path / "model.ckpt-1", fine_tune=False)


def test_a_checkpoint_of_another_model(small_model: Any, tmp_path: Path) -> None:
    prefix = tf.train.Checkpoint(dense=tf.Variable([1.0, 2.0])).write(str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"lacks 378 of its 378 variables \(conv0/weights first\)"):
        restore(small_model, Path(prefix), fine_tune=False)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\0" * 5000])
def test_a_file_that_is_no_checkpoint(small_model: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match="is none that can be read"):
        restore(small_model, tmp_path / "model.ckpt", fine_tune=False)


@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint(
    small_model: Any, written: tuple[Path, dict[str, Any]], tmp_path: Path, part: str, keep: float
) -> None:
    for path in written[0].parent.iterdir():
        shutil.copy(path, tmp_path)
    path = tmp_path / f"model.ckpt-7{part}"
    with path.open("r+b") as file:
        file.truncate(int(keep * path.stat().st_size))
    with pytest.raises(CheckpointError, match="is none that can be read"):
        restore(small_model, tmp_path / "model.ckpt-7", fine_tune=False)


def test_a_damaged_checkpoint(small_model: Any, written: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    for path in written[0].parent.iterdir():
        shutil.copy(path, tmp_path)
    path = tmp_path / "model.ckpt-7.data-00000-of-00001"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(CheckpointError, match="is none that can be read"):
        restore(small_model, tmp_path / "model.ckpt-7", fine_tune=False)


def test_the_network_computes_what_the_2016_graph_computes(shared_data: Path) -> None:
    directory = shared_data / "inception-v3-2016-03-01"
    model = inception.build(1001, 299, batch_norm_decay=0.9, seed=0)
    assert restore(model, directory / "model.ckpt-157585", fine_tune=False) == 388
    golden = np.load(directory / "golden.npz")
    found = model(golden["images"].astype(np.float32) / 127.5 - 1, training=False)
    for name in ("pool", "logits", "aux_logits"):
        assert found[name].shape == golden[name].shape
        assert np.abs(found[name] - golden[name]).max() < 1e-4 * np.abs(golden[name]).max()


def test_a_truncated_reference_checkpoint(small_model: Any, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "inception-v3-2016-03-01" / "model.ckpt-157585"
    with path.open("rb") as file:
        (tmp_path / path.name).write_bytes(file.read(path.stat().st_size // 2))
    with pytest.raises(CheckpointError, match="is none that can be read"):
        restore(small_model, tmp_path / path.name, fine_tune=False)
