from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file, inception
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import HEAD_PREFIXES, named_variables
from shardtune.model.pretrained import restore


def random_values(variables: dict[str, Any], seed: int = 4) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=variable.shape).astype(np.float32) for name, variable in variables.items()}


@pytest.fixture(scope="module")
def values(small_model: Any) -> dict[str, Any]:
    """Values for `small_model`, other than it has."""
    return random_values(named_variables(small_model))


@pytest.fixture(scope="module")
def larger_model() -> Any:
    """203 pixels: an auxiliary head with a kernel of 2 × 2 where 299 pixels give one of 5 × 5."""
    return inception.build(4, 203)


@pytest.fixture
def written(values: dict[str, Any], tmp_path: Path) -> Path:
    """A checkpoint of all of `values` and of what training adds."""
    return checkpoint_file.save(tmp_path, 1, {**values, "optimizer/0000": np.zeros(3), "loss_scale/scale": np.float32(1)})


def test_every_variable_gets_its_own_value(small_model: Any, values: dict[str, Any], written: Path) -> None:
    restored = restore(small_model, written)
    assert set(restored.restored) == set(values)
    assert restored.initialized == []
    assert all(np.array_equal(variable, values[name]) for name, variable in named_variables(small_model).items())
    assert str(restored) == f"Restored {len(values)} variables from {written}, a checkpoint of shardtune."


def test_fine_tuning_leaves_the_final_layers_as_they_are(small_model: Any, values: dict[str, Any], written: Path) -> None:
    variables = named_variables(small_model)
    for variable in variables.values():
        variable.assign(np.full(variable.shape, 7.0))
    restored = restore(small_model, written, fine_tune=True)
    assert restored.initialized == ["logits/logits/weights", "logits/logits/biases"]
    assert "logits/logits start at random" in str(restored)
    for name, variable in variables.items():
        expected = np.full(variable.shape, 7.0) if name.startswith(HEAD_PREFIXES) else values[name]
        assert np.array_equal(variable, expected)


def test_other_classes_need_fine_tune(values: dict[str, Any], written: Path) -> None:
    model = inception.build(9, 75)
    before = named_variables(model)["conv0/weights"].numpy()
    with pytest.raises(
        CheckpointError,
        match=rf"^The checkpoint {written} has 4 outputs, this data set needs 9 \(8 classes and the background\)\. "
        r"Pass --fine_tune to start the head at random\.$",
    ):
        restore(model, written)
    assert np.array_equal(before, named_variables(model)["conv0/weights"])  # all or nothing
    assert len(restore(model, written, fine_tune=True).restored) == len(values) - 2


def test_all_mismatches_are_listed_by_name(small_model: Any, values: dict[str, Any], tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"conv9/weights": np.zeros(1), **values, "conv3/weights": np.zeros((2, 2))}
    for name in [name for name in values if name.startswith("mixed_35x35x256a/branch5x5")]:
        del wrong[name]
    path = checkpoint_file.save(tmp_path, 1, wrong)
    with pytest.raises(CheckpointError) as caught:
        restore(small_model, path)
    message = str(caught.value)
    assert message.startswith(f"{path}, a checkpoint of shardtune, does not fit the network for images of 75 pixels")
    assert "its 378 variables: 8 missing (mixed_35x35x256a/branch5x5/Conv/weights, " in message
    assert (
        "and 3 more); 1 unexpected (conv9/weights); 1 of another shape (conv3/weights [2, 2] instead of [1, 1, 64, 80]"
        in message
    )
    assert message.endswith(". Give another checkpoint.")


@pytest.mark.parametrize("side", [107, 299])
def test_an_auxiliary_head_of_another_size_needs_fine_tune(larger_model: Any, side: int, tmp_path: Path) -> None:
    kernel = {107: (1, 1), 299: (5, 5)}[side]
    values = random_values(named_variables(larger_model))
    values["aux_logits/Conv/weights"] = np.zeros((*kernel, 128, 768), np.float32)
    path = checkpoint_file.save(tmp_path, 1, values)
    with pytest.raises(CheckpointError, match=r"1 of another shape \(aux_logits/Conv/weights .*\)\. Pass --fine_tune"):
        restore(larger_model, path)
    before = {name: variable.numpy() for name, variable in named_variables(larger_model).items()}
    restored = restore(larger_model, path, fine_tune=True)
    assert "aux_logits/Conv, aux_logits/FC, logits/logits start at random" in str(restored)
    for name, variable in named_variables(larger_model).items():
        is_random = name.startswith(("aux_logits/Conv/", *HEAD_PREFIXES))
        assert np.array_equal(variable, (before if is_random else values)[name])


def test_a_network_without_an_auxiliary_head_leaves_it_out(small_model: Any, values: dict[str, Any], tmp_path: Path) -> None:
    path = checkpoint_file.save(tmp_path, 1, {**values, "aux_logits/proj/weights": np.zeros((1, 1, 768, 128), np.float32)})
    assert len(restore(small_model, path).restored) == len(values)


def test_a_network_with_an_auxiliary_head_refuses_other_variables_of_it(larger_model: Any, tmp_path: Path) -> None:
    values = random_values(named_variables(larger_model))
    path = checkpoint_file.save(tmp_path, 1, {**values, "aux_logits/proj/biases": np.zeros(128, np.float32)})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(aux_logits/proj/biases\)\. Give another checkpoint"):
        restore(larger_model, path)


def test_averaged_weights_replace_the_weights_that_have_them(small_model: Any, values: dict[str, Any], tmp_path: Path) -> None:
    averaged = {name: array + 1 for name, array in values.items() if name.startswith("mixed_8x8x2048b/")}
    path = checkpoint_file.save(tmp_path, 1, {**values, **{f"{name}{EMA_SUFFIX}": array for name, array in averaged.items()}})
    for is_averaged, expected in ((True, {**values, **averaged}), (False, values)):
        restore(small_model, path, averaged=is_averaged)
        assert all(np.array_equal(variable, expected[name]) for name, variable in named_variables(small_model).items())


def test_a_checkpoint_without_averaged_weights_is_refused(small_model: Any, written: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no averaged weights\. Leave out --pretrained_ema"):
        restore(small_model, written, averaged=True)
