from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file, inception
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import HEAD_PREFIXES, named_variables
from shardtune.model.pretrained import listed, restore


def random_values(variables: dict[str, Any], seed: int = 4) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=variable.shape).astype(np.float32) for name, variable in variables.items()}


@pytest.fixture(scope="module")
def values(small_model: Any) -> dict[str, Any]:
    """Values for `small_model`, other than it has."""
    return random_values(named_variables(small_model))


@pytest.fixture(scope="module")
def larger_model() -> Any:
    """203 pixels: an auxiliary head with a kernel of 2 × 2 in its place of 5 × 5."""
    return inception.build(4, 203)


@pytest.fixture
def written(values: dict[str, Any], tmp_path: Path) -> Path:
    """A checkpoint of all of `values` and of what training adds."""
    return checkpoint_file.save(tmp_path, 1, {**values, "optimizer/0000": np.zeros(3), "loss_scale/scale": np.float32(1)})


def test_every_variable_gets_its_own_value(small_model: Any, values: dict[str, Any], written: Path) -> None:
    restored = restore(small_model, written)
    assert set(restored.given) == set(values)
    assert restored.random == []
    assert all(np.array_equal(variable, values[name]) for name, variable in named_variables(small_model).items())
    assert str(restored) == f"Restored {len(values)} variables from {written}, a checkpoint of shardtune."


def test_fine_tuning_leaves_the_final_layers_as_they_are(small_model: Any, values: dict[str, Any], written: Path) -> None:
    variables = named_variables(small_model)
    for variable in variables.values():
        variable.assign(np.full(variable.shape, 7.0))
    restored = restore(small_model, written, fine_tune=True)
    assert restored.random == ["logits/logits/weights", "logits/logits/biases"]
    assert "logits/logits start at random" in str(restored)
    for name, variable in variables.items():
        expected = np.full(variable.shape, 7.0) if name.startswith(HEAD_PREFIXES) else values[name]
        assert np.array_equal(variable, expected)


def test_other_classes_need_fine_tune(values: dict[str, Any], written: Path) -> None:
    model = inception.build(9, 75)
    before = named_variables(model)["conv0/weights"].numpy()
    with pytest.raises(
        CheckpointError,
        match=r"\(9 classes, 75 pixels\), but of them .* 2 of another shape \(logits/logits/weights \[2048, 4\] where "
        r"\[2048, 9\] belongs, logits/logits/biases \[4\] where \[9\] belongs\): add --fine_tune",
    ):
        restore(model, written)
    assert np.array_equal(before, named_variables(model)["conv0/weights"])  # nothing is half restored
    assert len(restore(model, written, fine_tune=True).given) == len(values) - 2


def test_all_that_is_wrong_is_listed_by_name(small_model: Any, values: dict[str, Any], tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"conv9/weights": np.zeros(1), **values, "conv3/weights": np.zeros((2, 2))}
    for name in [name for name in values if name.startswith("mixed_35x35x256a/branch5x5")]:
        del wrong[name]
    path = checkpoint_file.save(tmp_path, 1, wrong)
    with pytest.raises(CheckpointError) as caught:
        restore(small_model, path)
    message = str(caught.value)
    assert "8 missing (mixed_35x35x256a/branch5x5/Conv/weights, " in message
    assert "and 3 more); 1 unexpected (conv9/weights); 1 of another shape (conv3/weights [2, 2] where [1, 1, 64, 80]" in message
    assert message.endswith(": give another checkpoint.")


@pytest.mark.parametrize("side", [107, 299])
def test_an_auxiliary_head_of_another_size_needs_fine_tune(larger_model: Any, side: int, tmp_path: Path) -> None:
    kernel = {107: (1, 1), 299: (5, 5)}[side]
    values = random_values(named_variables(larger_model))
    values["aux_logits/Conv/weights"] = np.zeros((*kernel, 128, 768), np.float32)
    path = checkpoint_file.save(tmp_path, 1, values)
    with pytest.raises(CheckpointError, match=r"1 of another shape \(aux_logits/Conv/weights .*\): add --fine_tune"):
        restore(larger_model, path)
    before = {name: variable.numpy() for name, variable in named_variables(larger_model).items()}
    restored = restore(larger_model, path, fine_tune=True)
    assert "aux_logits/Conv, aux_logits/FC, logits/logits start at random" in str(restored)
    for name, variable in named_variables(larger_model).items():
        random = name.startswith(("aux_logits/Conv/", *HEAD_PREFIXES))
        assert np.array_equal(variable, (before if random else values)[name])


def test_a_network_without_an_auxiliary_head_leaves_it_out(small_model: Any, values: dict[str, Any], tmp_path: Path) -> None:
    path = checkpoint_file.save(tmp_path, 1, {**values, "aux_logits/proj/weights": np.zeros((1, 1, 768, 128), np.float32)})
    assert len(restore(small_model, path).given) == len(values)


def test_one_with_an_auxiliary_head_wants_nothing_else_in_its_place(larger_model: Any, tmp_path: Path) -> None:
    values = random_values(named_variables(larger_model))
    path = checkpoint_file.save(tmp_path, 1, {**values, "aux_logits/proj/biases": np.zeros(128, np.float32)})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(aux_logits/proj/biases\): give another checkpoint"):
        restore(larger_model, path)


def test_averaged_weights_take_the_place_of_those_that_have_them(
    small_model: Any, values: dict[str, Any], tmp_path: Path
) -> None:
    averaged = {name: array + 1 for name, array in values.items() if name.startswith("mixed_8x8x2048b/")}
    path = checkpoint_file.save(tmp_path, 1, {**values, **{f"{name}{EMA_SUFFIX}": array for name, array in averaged.items()}})
    for wanted, expected in ((True, {**values, **averaged}), (False, values)):
        restore(small_model, path, averaged=wanted)
        assert all(np.array_equal(variable, expected[name]) for name, variable in named_variables(small_model).items())


def test_averaged_weights_that_are_not_there(small_model: Any, written: Path) -> None:
    with pytest.raises(CheckpointError, match="has none: leave out --pretrained_ema"):
        restore(small_model, written, averaged=True)


@pytest.mark.parametrize(("count", "told"), [(0, ""), (2, "0, 1"), (5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")])
def test_listed(count: int, told: str) -> None:
    assert listed([str(i) for i in range(count)]) == told
