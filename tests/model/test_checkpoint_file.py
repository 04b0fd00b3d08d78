import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file
from shardtune.model.checkpoint_file import RUN_CONFIG_NAME, Tensors

TENSORS: Tensors = {"a/weights": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7, np.int64)}
RUN = {"config": {"image_size": 75}, "workers": 2, "labels": ["a", "b"]}


@given(
    st.dictionaries(
        st.text("abc/_0", min_size=1, max_size=12),
        hnp.arrays(st.sampled_from([np.float32, np.int64, np.float64]), hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)),
        max_size=4,
    ),
    st.integers(0, 10**8 - 1),
)
def test_what_was_saved_is_loaded(tmp_path: Path, tensors: Tensors, step: int) -> None:
    loaded = checkpoint_file.load(checkpoint_file.save(tmp_path, step, tensors))
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert loaded[name].tobytes() == tensor.tobytes()


def test_equal_checkpoints_are_equal_files_and_those_of_before_can_be_read(tmp_path: Path) -> None:
    path = checkpoint_file.save(tmp_path, 0, TENSORS, {"step": 0})
    first = path.read_bytes()
    for _ in range(20):
        assert checkpoint_file.save(tmp_path, 0, TENSORS, {"step": 0}).read_bytes() == first
    metadata = {"notes": "{}", "xxh3": checkpoint_file._digest(TENSORS, "{}")}
    path.write_bytes(safetensors.numpy.save(TENSORS, metadata))
    assert np.array_equal(checkpoint_file.load(path)["a/weights"], TENSORS["a/weights"])


def test_a_transposed_tensor_keeps_its_content(tmp_path: Path) -> None:
    loaded = checkpoint_file.load(checkpoint_file.save(tmp_path, 0, {"t": TENSORS["a/weights"].T}))
    assert np.array_equal(loaded["t"], TENSORS["a/weights"].T)


def test_newest_goes_by_number_and_sees_only_whole_checkpoints(tmp_path: Path) -> None:
    assert checkpoint_file.latest(tmp_path) is None
    for step in (9, 100_000_000, 20):
        checkpoint_file.save(tmp_path, step, TENSORS)
    directory = tmp_path / "checkpoints"
    for name in (".step-00000999.safetensors.tmp", "step-00000999.safetensors.old", "notes.txt"):
        (directory / name).write_text("no checkpoint")
    assert checkpoint_file.latest(tmp_path) == (100_000_000, directory / "step-100000000.safetensors")
    (directory / "step-100000000.safetensors").unlink()
    assert checkpoint_file.latest(tmp_path) == (20, directory / "step-00000020.safetensors")


def test_a_truncated_checkpoint_is_told(tmp_path: Path) -> None:
    path = checkpoint_file.save(tmp_path, 1, TENSORS)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=f"{path.name} is no readable checkpoint"):
            checkpoint_file.load(path)


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no readable checkpoint"):
        checkpoint_file.load(tmp_path / "nothing.safetensors")


def test_an_optimizer_comes_back_from_its_checkpoint(tmp_path: Path) -> None:
    def made() -> dict[str, Any]:
        weights = keras.Variable(np.ones((2, 3), np.float32))
        optimizer = keras.optimizers.Adam()
        optimizer.build([weights])
        optimizer.apply([np.full((2, 3), 0.5, np.float32)], [weights])
        return {"weights": weights, **{f"optimizer/{i}": variable for i, variable in enumerate(optimizer.variables)}}

    saved, fresh = made(), made()
    for variable in saved.values():
        variable.assign(variable + 1)
    path = checkpoint_file.save(tmp_path, 1, {name: variable.numpy() for name, variable in saved.items()})
    checkpoint_file.assign_variables(fresh, checkpoint_file.load(path), path)
    assert all(np.array_equal(fresh[name], variable) for name, variable in saved.items())


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({}, "is missing"),
        ({"w": np.zeros((3, 2), np.float32)}, r"has shape \[3, 2\]"),
        ({"w": np.float32(0)}, r"has shape \[\]"),
    ],
)
def test_a_checkpoint_of_another_model_is_told(tmp_path: Path, tensors: Tensors, found: str) -> None:
    variables = {"w": keras.Variable(np.zeros((2, 3), np.float32))}
    with pytest.raises(CheckpointError, match=rf"w of shape \[2, 3\] was expected and {found}"):
        checkpoint_file.assign_variables(variables, tensors, tmp_path / "x.safetensors")


def test_the_configuration_of_a_run_is_read(tmp_path: Path) -> None:
    (tmp_path / RUN_CONFIG_NAME).write_text(json.dumps(RUN))
    assert checkpoint_file.load_run_config(tmp_path) == RUN


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '"x"', *(json.dumps({k: v for k, v in RUN.items() if k != gone}) for gone in RUN)]
)
def test_what_is_no_run_is_told(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / RUN_CONFIG_NAME).write_text(content)
    with pytest.raises(CheckpointError, match=rf"holds {RUN_CONFIG_NAME}, but .* give the train_dir of a run"):
        checkpoint_file.load_run_config(tmp_path)
