from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.model.averages import TWIN, Averages
from shardtune.model.inception import LOGITS_LAYER
from shardtune.train.loss_scale import FIRST, LossScale
from shardtune.train.step import DROPOUT, _dropout, average_moving_statistics, make_optimizer, make_step
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
    outputs = {"logits": keras.layers.Dense(CLASSES, name=LOGITS_LAYER)(x), "pool": x}
    if auxiliary:
        outputs["aux_logits"] = keras.layers.Dense(CLASSES, name="aux_logits")(x)
    return keras.Model(inputs, outputs)


def compiled(
    model: Any,
    *,
    optimizer: Literal["sgd", "adam"] = "sgd",
    world: World | None = None,
    loss_scale: LossScale | None = None,
    averages: Averages | None = None,
    seed: int = 0,
) -> Callable[..., float]:
    """The training step on IMAGES and LABELS: (step, rate) → loss."""
    step = make_step(
        model,
        make_optimizer(optimizer, model),
        averages or Averages({}, 0.5),
        loss_scale,
        world or World(),
        batch_size=BATCH,
        seed=seed,
    )
    return lambda number, rate: float(step(tf.constant(number, tf.int64), IMAGES, LABELS, tf.constant(rate)))


@pytest.fixture
def no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardtune.train.step.DROPOUT", 0.0)


def stepped(model: Any, steps: int, rate: float, optimizer: Literal["sgd", "adam"] = "sgd") -> list[float]:
    step = compiled(model, optimizer=optimizer)
    return [step(number, rate) for number in range(steps)]


def smoothed_cross_entropy(logits: npt.NDArray[np.float32]) -> float:
    """Mean over the batch; a tenth of each target is spread over all classes, the background class too."""
    wide = logits.astype(np.float64)
    log_probabilities = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    targets = 0.9 * np.eye(CLASSES)[LABELS] + 0.1 / CLASSES
    return float(-(targets * log_probabilities).sum(1).mean())


@pytest.mark.usefixtures("no_dropout")
@pytest.mark.parametrize("auxiliary", [False, True])
def test_the_loss_is_label_smoothed_cross_entropy(auxiliary: bool) -> None:
    outputs = network(auxiliary=auxiliary)(IMAGES, training=True)
    expected = smoothed_cross_entropy(outputs["logits"].numpy())
    if auxiliary:
        expected += 0.4 * smoothed_cross_entropy(outputs["aux_logits"].numpy())
    assert stepped(network(auxiliary=auxiliary), 1, 0.1)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("no_dropout")
@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("adam", 0.05)])
def test_steps_lower_the_loss(optimizer: Literal["sgd", "adam"], rate: float) -> None:
    losses = stepped(network(), 30, rate, optimizer)
    # The smoothed targets' own entropy is the floor.
    target = np.array([0.92, 0.02, 0.02, 0.02, 0.02])
    assert -(target * np.log(target)).sum() - 1e-6 < losses[-1] < losses[0] / 2


@pytest.mark.usefixtures("no_dropout")
def test_the_learning_rate_is_the_one_that_is_given() -> None:
    still, moved = network(), network()
    before = still.get_layer(LOGITS_LAYER).kernel.numpy()
    stepped(still, 3, 0.0)
    assert np.array_equal(before, still.get_layer(LOGITS_LAYER).kernel)
    # The first step of Nesterov momentum from rest is (1 + 0.9) times the gradient.
    with tf.GradientTape() as tape:
        logits = moved(IMAGES, training=True)["logits"]
        targets = 0.9 * tf.one_hot(LABELS, CLASSES) + 0.1 / CLASSES
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    gradient = tape.gradient(loss, moved.get_layer(LOGITS_LAYER).kernel.value)
    stepped(moved, 1, 0.25)
    assert np.allclose(moved.get_layer(LOGITS_LAYER).kernel, before - 0.25 * 1.9 * gradient, atol=1e-6)


def test_what_is_frozen_does_not_move() -> None:
    model = network(frozen=True)
    frozen = [variable for name in ("below", "norm") for variable in model.get_layer(name).variables]
    before = [variable.numpy() for variable in frozen], model.get_layer(LOGITS_LAYER).kernel.numpy()
    stepped(model, 3, 0.1)
    assert all(np.array_equal(a, b) for a, b in zip(before[0], frozen, strict=True))
    assert not np.array_equal(before[1], model.get_layer(LOGITS_LAYER).kernel)


class AloneOfTwo:
    """A peer that has seen nothing: the sum over two ranks is what this rank brings."""

    def sum_tensors(self, tensors: list[Any]) -> list[Any]:
        return tensors


@pytest.mark.usefixtures("no_dropout")
def test_gradients_and_loss_are_averaged_over_the_world() -> None:
    world = World(0, 2, 0, 2, AloneOfTwo())  # type: ignore[arg-type]
    alone, together = network(), network()
    before = alone.get_layer(LOGITS_LAYER).kernel.numpy()
    loss_alone = stepped(alone, 1, 0.1)[0]
    assert compiled(together, world=world)(0, 0.2) == pytest.approx(loss_alone / 2)
    assert not np.array_equal(before, together.get_layer(LOGITS_LAYER).kernel)
    assert np.allclose(alone.get_layer(LOGITS_LAYER).kernel, together.get_layer(LOGITS_LAYER).kernel, atol=1e-6)


def test_the_dropout_mask_is_a_function_of_seed_step_and_place() -> None:
    def mask(seed: int, step: int, world: World) -> Any:
        return _dropout(tf.ones([BATCH, 50]), seed, tf.constant(step, tf.int64), world).numpy()

    both = [mask(1, 2, World(rank, 2, rank, 2, AloneOfTwo())) for rank in (0, 1)]  # type: ignore[arg-type]
    whole = _dropout(tf.ones([2 * BATCH, 50]), 1, tf.constant(2, tf.int64), World()).numpy()
    assert np.array_equal(np.concatenate(both), whole)
    assert np.array_equal(np.unique(whole), np.float32([0, 1 / (1 - DROPOUT)]))
    assert 0.12 < (whole == 0).mean() < 0.28
    assert not np.array_equal(mask(1, 2, World()), mask(1, 3, World()))
    assert not np.array_equal(mask(1, 2, World()), mask(2, 2, World()))


def test_averages_follow_the_weights() -> None:
    model = network()
    kernel = model.get_layer(LOGITS_LAYER).kernel
    averages = Averages({"kernel": kernel}, 0.9999)
    before = kernel.numpy()
    compiled(model, averages=averages)(0, 0.5)
    assert np.allclose(averages.variables[f"kernel{TWIN}"], 0.1 * before + 0.9 * kernel.numpy(), atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_loss_scale_changes_no_step(optimizer: Literal["sgd", "adam"]) -> None:
    plain, scaled = network(), network()
    losses = [compiled(model, optimizer=optimizer, loss_scale=s)(0, 0.1) for model, s in ((plain, None), (scaled, LossScale()))]
    assert losses[0] == losses[1]
    assert np.allclose(plain.get_layer(LOGITS_LAYER).kernel, scaled.get_layer(LOGITS_LAYER).kernel, atol=1e-6)


def test_a_step_whose_gradients_overflow_changes_no_weight() -> None:
    model, loss_scale = network(), LossScale()
    optimizer = make_optimizer("adam", model)
    step = make_step(model, optimizer, Averages({}, 0.5), loss_scale, World(), batch_size=BATCH, seed=0)
    before = [variable.numpy() for variable in [*model.trainable_variables, *optimizer.variables]]
    loss_scale.scale.assign(np.inf)
    step(tf.constant(0, tf.int64), IMAGES, LABELS, tf.constant(0.001))
    after = [*model.trainable_variables, *optimizer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True) if b.name != "learning_rate")
    loss_scale.scale.assign(FIRST)
    step(tf.constant(0, tf.int64), IMAGES, LABELS, tf.constant(0.001))
    assert not np.array_equal(before[0], after[0])


def test_moving_statistics_are_averaged() -> None:
    class WithAPeerAtFour:
        def sum_tensors(self, tensors: list[Any]) -> list[Any]:
            return [tensor + 4 for tensor in tensors]

    variables = {
        name: keras.Variable(value)
        for name, value in {"a/moving_mean": 0.0, "a/moving_mean" + TWIN: 1.0, "a/beta": 2.0}.items()
    }
    average_moving_statistics(variables, World(0, 2, 0, 2, WithAPeerAtFour()))  # type: ignore[arg-type]
    assert [float(variable.numpy()) for variable in variables.values()] == [2.0, 2.5, 2.0]
