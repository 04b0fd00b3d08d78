from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.train.step import average_moving_statistics, make_optimizer, make_step
from shardtune.world import World

BATCH, SIDE, CLASSES = 6, 4, 5
GENERATOR = np.random.default_rng(2)
IMAGES = GENERATOR.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 2], np.int64)


def network(*, auxiliary: bool = False, frozen: bool = False) -> Any:
    """A small network with the outputs of Inception v3, its first layers perhaps frozen."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Dense(8, name="below", trainable=not frozen)(keras.layers.Flatten()(inputs))
    x = keras.layers.BatchNormalization(name="norm", trainable=not frozen, momentum=0.5)(x)
    outputs = {"logits": keras.layers.Dense(CLASSES, name="logits")(x), "pool": x}
    if auxiliary:
        outputs["aux_logits"] = keras.layers.Dense(CLASSES, name="aux_logits")(x)
    return keras.Model(inputs, outputs)


def stepped(model: Any, steps: int, rate: float, optimizer: Literal["sgd", "adam"] = "sgd") -> list[float]:
    step = make_step(model, make_optimizer(optimizer, model), World(), BATCH)
    return [float(step(IMAGES, LABELS, tf.constant(rate))) for _ in range(steps)]


def smoothed_cross_entropy(logits: npt.NDArray[np.float32]) -> float:
    """Mean over the batch; a tenth of each target is spread over all classes, the background class too."""
    wide = logits.astype(np.float64)
    log_probabilities = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    targets = 0.9 * np.eye(CLASSES)[LABELS] + 0.1 / CLASSES
    return float(-(targets * log_probabilities).sum(1).mean())


@pytest.mark.parametrize("auxiliary", [False, True])
def test_the_loss_is_label_smoothed_cross_entropy(auxiliary: bool) -> None:
    outputs = network(auxiliary=auxiliary)(IMAGES, training=True)
    expected = smoothed_cross_entropy(outputs["logits"].numpy())
    if auxiliary:
        expected += 0.4 * smoothed_cross_entropy(outputs["aux_logits"].numpy())
    assert stepped(network(auxiliary=auxiliary), 1, 0.1)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("adam", 0.05)])
def test_steps_lower_the_loss(optimizer: Literal["sgd", "adam"], rate: float) -> None:
    losses = stepped(network(), 30, rate, optimizer)
    # The smoothed targets' own entropy is the floor.
    target = np.array([0.92, 0.02, 0.02, 0.02, 0.02])
    assert -(target * np.log(target)).sum() - 1e-6 < losses[-1] < losses[0] / 2


def test_the_learning_rate_is_the_one_that_is_given() -> None:
    still, moved = network(), network()
    before = still.get_layer("logits").kernel.numpy()
    stepped(still, 3, 0.0)
    assert np.array_equal(before, still.get_layer("logits").kernel)
    # The first step of Nesterov momentum from rest is (1 + 0.9) times the gradient.
    with tf.GradientTape() as tape:
        logits = moved(IMAGES, training=True)["logits"]
        targets = 0.9 * tf.one_hot(LABELS, CLASSES) + 0.1 / CLASSES
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    gradient = tape.gradient(loss, moved.get_layer("logits").kernel.value)
    stepped(moved, 1, 0.25)
    assert np.allclose(moved.get_layer("logits").kernel, before - 0.25 * 1.9 * gradient, atol=1e-6)


def test_what_is_frozen_does_not_move() -> None:
    model = network(frozen=True)
    frozen = [variable for name in ("below", "norm") for variable in model.get_layer(name).variables]
    before = [variable.numpy() for variable in frozen], model.get_layer("logits").kernel.numpy()
    stepped(model, 3, 0.1)
    assert all(np.array_equal(a, b) for a, b in zip(before[0], frozen, strict=True))
    assert not np.array_equal(before[1], model.get_layer("logits").kernel)


def test_gradients_and_loss_are_averaged_over_the_world() -> None:
    # A peer that has seen nothing: the mean over two ranks halves what this rank brings.
    class WithAnIdlePeer:
        def mean_tensors(self, tensors: list[Any]) -> list[Any]:
            return [tensor / 2 for tensor in tensors]

    world = World(0, 2, 0, 2, WithAnIdlePeer())  # type: ignore[arg-type]
    alone, together = network(), network()
    before = alone.get_layer("logits").kernel.numpy()
    loss_alone = stepped(alone, 1, 0.1)[0]
    loss = make_step(together, make_optimizer("sgd", together), world, BATCH)(IMAGES, LABELS, tf.constant(0.2))
    assert float(loss) == pytest.approx(loss_alone / 2)
    assert not np.array_equal(before, together.get_layer("logits").kernel)
    assert np.allclose(alone.get_layer("logits").kernel, together.get_layer("logits").kernel, atol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_moving_statistics_are_averaged_unless_frozen(frozen: bool) -> None:
    class WithAPeerAtFour:
        def mean_tensors(self, tensors: list[Any]) -> list[Any]:
            return [(tensor + 4) / 2 for tensor in tensors]

    model = network(frozen=frozen)
    average_moving_statistics(model, World(0, 2, 0, 2, WithAPeerAtFour()))  # type: ignore[arg-type]
    norm = model.get_layer("norm")
    assert set(norm.moving_mean.numpy()) == {0.0 if frozen else 2.0}
    assert set(norm.moving_variance.numpy()) == {1.0 if frozen else 2.5}
    assert set(norm.gamma.numpy()) == {1.0}
