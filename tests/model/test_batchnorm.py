from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.model.batchnorm import EPSILON, BatchNormalization, BatchNormMode, BatchNormOptions, moments_collected

GENERATOR = np.random.default_rng(5)
X = (GENERATOR.normal(size=(4, 3, 5, 2)) * [1.0, 30.0] + [0.5, -100.0]).astype(np.float32)
AXES = (0, 1, 2)
Array = npt.NDArray[Any]


def layer(mode: BatchNormMode, dtype: str = "float32") -> Any:
    """A layer for two channels with a beta, and moving statistics, of its own."""
    made = BatchNormalization(BatchNormOptions(mode), dtype=dtype)
    made.build((None, 3, 5, 2))
    for variable, value in ((made.beta, [0.1, -0.2]), (made.moving_mean, [1.0, -90.0]), (made.moving_variance, [2.0, 500.0])):
        variable.assign(value)
    return made


def normalised(x: Array, mean: Any, variance: Any) -> Array:
    return np.asarray((x.astype(np.float64) - mean) / np.sqrt(np.asarray(variance) + EPSILON) + [0.1, -0.2])


@pytest.mark.parametrize("mode", ["per_worker", "synced"])
def test_training_normalises_by_the_moments_of_the_batch_and_records_them(mode: BatchNormMode) -> None:
    norm = layer(mode)
    wide = X.astype(np.float64)
    with moments_collected() as moments:
        assert np.allclose(norm(X, training=True), normalised(X, wide.mean(AXES), wide.var(AXES)), atol=1e-5)
    assert np.allclose(moments[id(norm.moving_mean)], wide.mean(AXES), rtol=1e-6)
    assert np.allclose(moments[id(norm.moving_variance)], wide.var(AXES), rtol=1e-5)
    norm(X, training=True)  # outside of the context nobody asks for them
    assert norm.moving_mean.numpy().tolist() == [1.0, -90.0]


@pytest.mark.parametrize("mode", ["per_worker", "synced", "frozen"])
def test_inference_normalises_by_the_moving_statistics(mode: BatchNormMode) -> None:
    norm = layer(mode)
    with moments_collected() as moments:
        norm(X, training=False)
    assert not moments
    assert np.allclose(norm(X, training=False), normalised(X, [1.0, -90.0], [2.0, 500.0]), atol=1e-5)
    assert norm.moving_mean.numpy().tolist() == [1.0, -90.0]


@pytest.mark.parametrize(
    "freeze", [lambda: layer("frozen"), lambda: setattr(made := layer("synced"), "trainable", False) or made]
)
def test_frozen_layers_use_and_keep_the_moving_statistics_in_training(freeze: Any) -> None:
    norm = freeze()
    assert norm.trainable_variables == []
    assert np.allclose(norm(X, training=True), normalised(X, [1.0, -90.0], [2.0, 500.0]), atol=1e-5)
    assert norm.moving_mean.numpy().tolist() == [1.0, -90.0]


def gradients(norm: Any) -> list[Array]:
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(norm(x, training=True) * tf.constant(GENERATOR_WEIGHTS))
    return [np.asarray(g) for g in tape.gradient(loss, [x, norm.beta.value])]


GENERATOR_WEIGHTS = GENERATOR.normal(size=X.shape).astype(np.float32)


def test_gradients_equal_those_of_keras_s_layer() -> None:
    reference = keras.layers.BatchNormalization(scale=False, epsilon=EPSILON)
    reference.build(X.shape)
    expected = gradients(reference)
    for mode in ("per_worker", "synced"):
        found = gradients(layer(mode))  # type: ignore[arg-type]
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


def test_frozen_statistics_let_gradients_through() -> None:
    through = gradients_of_frozen()
    assert np.allclose(through, GENERATOR_WEIGHTS / np.sqrt(np.array([2.0, 500.0]) + EPSILON), rtol=1e-5)


def gradients_of_frozen() -> Any:
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer("frozen")(x, training=True) * tf.constant(GENERATOR_WEIGHTS))
    return tape.gradient(loss, x)


@pytest.mark.parametrize("mode", ["per_worker", "synced", "frozen"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_arithmetic_is_float32_for_all_activations(mode: BatchNormMode, dtype: str) -> None:
    x = tf.cast(X, dtype)
    expected = layer(mode)(tf.cast(x, tf.float32), training=True)
    found = layer(mode, dtype=f"mixed_{dtype}")(x, training=True)
    assert found.dtype == dtype
    assert np.abs(tf.cast(found, tf.float32) - expected).max() <= 2**-8 * np.abs(expected).max()  # one rounding, at the end
