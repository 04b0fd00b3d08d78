from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shardtune.errors import UsageError
from shardtune.model.batchnorm import BatchNormalization, BatchNormOptions, moments_collected
from shardtune.model.inception import build, named_variables, updated_variables

# Szegedy et al. 2015, figure 5 to 7, and the stem: 5; three blocks of 7; the grid reduction of 4; four blocks of 10; the
# second reduction of 6; two blocks of 9.
CONVOLUTIONS = 5 + 3 * 7 + 4 + 4 * 10 + 6 + 2 * 9
IMAGE = np.random.default_rng(3).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def frozen_model() -> Any:
    """107 pixels: the smallest with an auxiliary head; mixed8 and all below it frozen."""
    return build(6, 107, seed=1, freeze_until="mixed8")


def test_below_107_pixels_there_is_no_auxiliary_head(small_model: Any) -> None:
    names = named_variables(small_model)
    assert set(small_model.output) == {"logits", "pool"}
    assert small_model.output["logits"].shape == (None, 4)
    assert len(names) == 4 * CONVOLUTIONS + 2  # kernel, beta, moving mean and variance of each; the logits' two
    assert not [name for name in names if name.startswith("aux")]
    assert {id(variable) for variable in names.values()} == {id(variable) for variable in small_model.variables}


def test_from_107_pixels_there_is_one(frozen_model: Any) -> None:
    assert set(frozen_model.output) == {"logits", "aux_logits", "pool"}
    assert frozen_model.output["aux_logits"].shape == (None, 6)
    assert frozen_model.output["pool"].shape == (None, 2048)
    assert len(named_variables(frozen_model)) == 4 * (CONVOLUTIONS + 2) + 4


def test_106_pixels_are_one_too_few_for_it() -> None:
    trunk = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(106, 106, 3))
    assert trunk.get_layer("mixed7").output.shape[1:3] == (4, 4)  # the head pools 5×5


@pytest.mark.exhaustive
@pytest.mark.parametrize("side", [76, 99, 106, 108, 150, 224, 331])
def test_any_size_from_75_has_its_network(side: int) -> None:
    model = build(3, side)
    outputs = model(np.zeros((1, side, side, 3), np.float32), training=False)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "logits": (1, 3),
        "pool": (1, 2048),
        **({"aux_logits": (1, 3)} if side >= 107 else {}),
    }


def test_freezing_stops_at_the_block_that_is_named(frozen_model: Any) -> None:
    training = {id(variable) for variable in frozen_model.trainable_variables}
    names = {name: id(variable) in training for name, variable in named_variables(frozen_model).items()}
    weights = {name: trains for name, trains in names.items() if "moving" not in name}
    above = ("mixed_8x8x2048a/", "mixed_8x8x2048b/", "logits/", "aux_logits/")
    assert set(updated_variables(frozen_model)) == {name for name in names if name.startswith(above)}
    assert {name for name, trains in weights.items() if trains} == {name for name in weights if name.startswith(above)}


def test_frozen_batch_normalisation_keeps_and_uses_its_statistics(frozen_model: Any) -> None:
    names = {id(variable): name for name, variable in named_variables(frozen_model).items() if "moving" in name}
    with moments_collected() as moments:
        frozen_model(np.random.default_rng(0).uniform(-1, 1, (4, 107, 107, 3)).astype(np.float32), training=True)
    above = ("mixed_8x8x2048a/", "mixed_8x8x2048b/", "aux_logits/")
    assert {names[variable] for variable in moments} == {name for name in names.values() if name.startswith(above)}


def test_a_block_that_is_not_there_cannot_be_frozen(small_model: Any) -> None:
    with pytest.raises(UsageError, match=r"no block 'mixed11' for --freeze_until\. Choose one of mixed0, .*mixed10\."):
        build(4, 75, seed=1, freeze_until="mixed11")


def test_the_seed_is_obeyed(small_model: Any) -> None:
    norms = [layer for layer in small_model.layers if isinstance(layer, BatchNormalization)]
    assert len(norms) == CONVOLUTIONS
    assert {layer.options.mode for layer in norms} == {"per_worker"}
    first, other, third = (
        {name: variable.numpy() for name, variable in named_variables(build(4, 75, seed=seed)).items()} for seed in (1, 2, 1)
    )
    assert all(np.array_equal(first[name], third[name]) for name in first)
    assert not np.array_equal(first["conv0/weights"], other["conv0/weights"])


def test_weights_start_as_in_the_reference() -> None:
    # research/inception: truncated at two standard deviations, which leaves 0.88 of the standard deviation.
    expected = {"aux_logits/Conv": 0.01, "aux_logits/FC": 0.001, "logits/logits": 0.01}
    for name, variable in named_variables(build(1001, 107)).items():
        layer, part = name.rsplit("/", 1)
        if part == "weights":
            deviation = expected.get(layer, 0.1)
            assert np.std(variable) == pytest.approx(0.88 * deviation, rel=0.1), name
            assert np.abs(variable).max() <= 2 * deviation * (1 + 1e-6)
        else:
            assert set(np.unique(variable)) == {1.0 if part == "moving_variance" else 0.0}
    kernels = [v.numpy().ravel()[:9] for name, v in named_variables(build(4, 75)).items() if name.endswith("weights")]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)  # no two layers start with the same weights


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_in_mixed_precision_weights_and_outputs_stay_float32(precision: Any, small_model: Any) -> None:
    model = build(4, 75, precision=precision)
    assert {variable.dtype for variable in named_variables(model).values()} == {"float32"}
    assert model.get_layer("mixed5").compute_dtype == precision.removeprefix("mixed_")
    for name, variable in named_variables(model).items():
        if name.endswith("weights"):  # as large as they must be for activations not to grow from layer to layer
            variable.assign(variable * np.sqrt(2 / np.prod(variable.shape[:-1])) / np.std(variable))
        named_variables(small_model)[name].assign(variable)
    for name, exact in small_model(IMAGE, training=False).items():
        found = model(IMAGE, training=False)[name]
        assert found.dtype == tf.float32
        assert not np.array_equal(found, exact)
        assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


def test_frozen_batch_normalisation_alone_leaves_the_convolutions_to_train() -> None:
    model = build(4, 75, batch_norm=BatchNormOptions("frozen"))
    changing = updated_variables(model)
    assert len(changing) == CONVOLUTIONS + 2
    assert not [name for name in changing if "BatchNorm" in name]


def test_names_mean_the_same_layers_in_every_model_of_a_process(small_model: Any) -> None:
    # Keras numbers layers by a counter of the process, so the second model's conv2d_99 and conv2d_100 are neighbours.
    other = build(4, 75, seed=8)
    assert not np.allclose(small_model(IMAGE)["logits"], other(IMAGE)["logits"], atol=1e-6)
    variables, other_variables = named_variables(small_model), named_variables(other)
    assert list(variables) == list(other_variables)
    for name, variable in other_variables.items():
        variable.assign(variables[name])
    assert np.array_equal(small_model(IMAGE)["logits"], other(IMAGE)["logits"])


def test_names_and_shapes_are_those_of_the_2016_checkpoint(shared_data: Path) -> None:
    expected = dict(tf.train.list_variables(str(shared_data / "inception-v3-2016-03-01" / "model.ckpt-157585")))
    model = build(1001, 299, seed=0)
    found = {name: list(variable.shape) for name, variable in named_variables(model).items()}
    assert found == {name: list(shape) for name, shape in expected.items() if name in found}
    # The release also has the moving averages, optimizer slots and a step counter; a checkpoint without them is as good.
    assert {
        name for name in expected if not name.endswith(("ExponentialMovingAverage", "RMSProp", "RMSProp_1", "global_step"))
    } == set(found)
