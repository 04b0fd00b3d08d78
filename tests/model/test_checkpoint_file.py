import json
from pathlib import Path

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
def test_saved_tensors_are_loaded_unchanged(tmp_path: Path, tensors: Tensors, step: int) -> None:
    loaded = checkpoint_file.load(checkpoint_file.save(tmp_path, step, tensors))
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert loaded[name].tobytes() == tensor.tobytes()


def test_equal_checkpoints_are_equal_files_and_the_first_format_can_be_read(tmp_path: Path) -> None:
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


def test_latest_compares_numbers_and_ignores_other_files(tmp_path: Path) -> None:
    assert checkpoint_file.latest(tmp_path) is None
    for step in (9, 100_000_000, 20):
        checkpoint_file.save(tmp_path, step, TENSORS)
    directory = tmp_path / "checkpoints"
    for name in (".step-00000999.safetensors.tmp", "step-00000999.safetensors.old", "notes.txt"):
        (directory / name).write_text("no checkpoint")
    assert checkpoint_file.latest(tmp_path) == (100_000_000, directory / "step-100000000.safetensors")
    (directory / "step-100000000.safetensors").unlink()
    assert checkpoint_file.latest(tmp_path) == (20, directory / "step-00000020.safetensors")


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = checkpoint_file.save(tmp_path, 1, TENSORS)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=rf"The checkpoint {path} is damaged \(.+\)\. Remove it to use"):
            checkpoint_file.load(path)


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors cannot be read \(No such file or directory\)\. Run"):
        checkpoint_file.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({}, "w is missing"),
        ({"w": np.zeros((3, 2), np.float32)}, r"w has shape \[3, 2\] instead of \[2, 3\]"),
        ({"w": np.float32(0)}, r"w has shape \[\] instead of \[2, 3\]"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, tensors: Tensors, found: str) -> None:
    with pytest.raises(CheckpointError, match=rf"x.safetensors does not fit this run: {found}\. Restore"):
        checkpoint_file.check_fit({"w": (2, 3)}, tensors, tmp_path / "x.safetensors")


def test_the_first_tensors_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    shapes = {f"v{number}": (2,) for number in range(9)}
    tensors: Tensors = {"v0": np.ones(2, np.float32), "v1": np.ones(3, np.float32)}
    with pytest.raises(CheckpointError, match=r"v1 has shape \[3\] .*, v2 is missing, .*, v5 is missing and 3 more\."):
        checkpoint_file.check_fit(shapes, tensors, tmp_path / "x.safetensors")


@pytest.mark.parametrize(("count", "listed"), [(0, ""), (2, "0, 1"), (5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")])
def test_join_first(count: int, listed: str) -> None:
    assert checkpoint_file.join_first([str(i) for i in range(count)]) == listed


def test_the_configuration_of_a_run_is_read(tmp_path: Path) -> None:
    (tmp_path / RUN_CONFIG_NAME).write_text(json.dumps(RUN))
    assert checkpoint_file.load_run_config(tmp_path) == RUN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, rf"no run directory: it has no {RUN_CONFIG_NAME}\. Give the --train_dir of a run\."),
        ("", r"cannot be read \(Expecting value: line 1 column 1 \(char 0\)\)\. Restore it"),
        ("{", r"cannot be read \(Expecting property name .*\)\. Restore it"),
        *(
            (content, "is no configuration of a run: a field is missing or has another type")
            for content in ("[]", "{}", '"x"', *(json.dumps({k: v for k, v in RUN.items() if k != gone}) for gone in RUN))
        ),
        (json.dumps({**RUN, "version": 2}), r"has version 2, this shardtune reads version 1\. Use"),
    ],
)
def test_other_configurations_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / RUN_CONFIG_NAME).write_text(content)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}.* {message}"):
        checkpoint_file.load_run_config(tmp_path)
