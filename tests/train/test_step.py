"""What a step of training does to the weights, and what it reports."""

import time
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.model.inception import LOGITS_LAYER, named_variables
from shardtune.runtime.communicators import SingleProcessCommunicator
from shardtune.runtime.world import World
from shardtune.train.config import Jit, Optimizer, Precision
from shardtune.train.dropout import dropout_mask
from shardtune.train.loss_scale import INITIAL_SCALE
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep
from tests.train.networks import small
from tests.train.steps import BATCH, CLASSES, CONFIG, IMAGES, LABELS, SIDE, stepped, take


def smoothed_cross_entropy(logits: npt.NDArray[np.float32]) -> float:
    """Mean over the batch; a tenth of each target is spread over all classes, the background class too."""
    wide = logits.astype(np.float64)
    log_probabilities = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    targets = 0.9 * np.eye(CLASSES)[LABELS] + 0.1 / CLASSES
    return float(-(targets * log_probabilities).sum(1).mean())


def dropped_logits(model: Any, images: Any, step: int) -> Any:
    pool = model(images, training=True)["pool"]
    mask = dropout_mask(CONFIG.seed, tf.constant(step, tf.int64), tf.constant(0, tf.int64), len(images), pool.shape[-1])
    return model.get_layer(LOGITS_LAYER)(pool * mask)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_the_loss_is_label_smoothed_cross_entropy_after_dropout(auxiliary: bool) -> None:
    model = small(CLASSES, SIDE, auxiliary=auxiliary)
    expected = smoothed_cross_entropy(dropped_logits(model, IMAGES, 0).numpy())
    if auxiliary:
        expected += 0.4 * smoothed_cross_entropy(model(IMAGES, training=True)["aux_logits"].numpy())
    assert stepped(model, 1, 0.1)[0].loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("adam", 0.05), ("adamw", 0.05), ("rmsprop", 0.1)])
def test_steps_lower_the_loss(optimizer: Optimizer, rate: float) -> None:
    losses = [metrics.loss for metrics in stepped(small(CLASSES, SIDE), 40, rate, replace(CONFIG, optimizer=optimizer))]
    # The smoothed targets' own entropy is the floor.
    target = np.array([0.92, 0.02, 0.02, 0.02, 0.02])
    assert -(target * np.log(target)).sum() - 1e-6 < losses[-1] < 0.8 * losses[0]


def gradient_of_kernel(model: Any) -> Any:
    with tf.GradientTape() as tape:
        targets = 0.9 * tf.one_hot(LABELS, CLASSES) + 0.1 / CLASSES
        logits = dropped_logits(model, IMAGES, 0)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    return tape.gradient(loss, model.get_layer(LOGITS_LAYER).kernel.value)


def test_the_learning_rate_is_the_one_that_is_given() -> None:
    still, moved = small(CLASSES, SIDE), small(CLASSES, SIDE)
    before = still.get_layer(LOGITS_LAYER).kernel.numpy()
    stepped(still, 3, 0.0)
    assert np.array_equal(before, still.get_layer(LOGITS_LAYER).kernel)
    # The first step of Nesterov momentum from rest is (1 + 0.9) times the gradient.
    gradient = gradient_of_kernel(moved)
    stepped(moved, 1, 0.25)
    assert np.allclose(moved.get_layer(LOGITS_LAYER).kernel, before - 0.25 * 1.9 * gradient, atol=1e-6)


def test_the_time_of_sums_over_ranks_is_that_between_two_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([10.0, 12.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(looks))
    run = TrainStep(TrainState(small(CLASSES, SIDE), CONFIG), World(), CONFIG, BATCH)
    assert take(run, 0, 0.1).allreduce_seconds == 2.5


def test_weight_decay_adds_the_weights_to_the_gradients() -> None:
    model = small(CLASSES, SIDE)
    before, gradient = model.get_layer(LOGITS_LAYER).kernel.numpy(), gradient_of_kernel(model)
    stepped(model, 1, 0.25, replace(CONFIG, weight_decay=0.5))
    assert np.allclose(model.get_layer(LOGITS_LAYER).kernel, before - 0.25 * 1.9 * (gradient + 0.5 * before), atol=1e-6)


def test_gradients_are_clipped_by_their_global_norm() -> None:
    free, clipped = small(CLASSES, SIDE), small(CLASSES, SIDE)
    before = free.get_layer(LOGITS_LAYER).kernel.numpy()
    [metrics] = stepped(free, 1, 0.1)
    norm = metrics.gradient_norm
    assert stepped(clipped, 1, 0.1, replace(CONFIG, clip_norm=norm / 4))[0].gradient_norm == pytest.approx(norm)
    step, shorter = (before - model.get_layer(LOGITS_LAYER).kernel.numpy() for model in (free, clipped))
    assert np.allclose(shorter, step / 4, atol=1e-7)


def test_what_is_frozen_does_not_move() -> None:
    model = small(CLASSES, SIDE, frozen=True)
    before = {name: variable.numpy() for name, variable in named_variables(model).items()}
    stepped(model, 3, 0.1)
    moved = {name for name, variable in named_variables(model).items() if not np.array_equal(variable, before[name])}
    assert moved == {"logits/logits/weights", "logits/logits/biases"}


class WithAnIdlePeer(SingleProcessCommunicator):
    """A second worker whose examples bring no gradients, and which has moments of 4 and is asked to stop."""

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        return [tensor + (1.0 if tensor.shape == () else 4.0 * BATCH if tensor.shape == (16,) else 0.0) for tensor in tensors]


def test_moving_statistics_and_stop_requests_are_summed_too() -> None:
    model, config = small(CLASSES, SIDE), replace(CONFIG, batch_norm_decay=0.0)
    run = TrainStep(TrainState(model, config), World(0, 2, 0, 2, WithAnIdlePeer()), config, 2 * BATCH)
    alone = small(CLASSES, SIDE)
    stepped(alone, 1, 0.0, config)
    metrics = take(run, 0, 0.0, stop_requested=True)
    assert metrics.stop_requests == 2
    for name in ("moving_mean", "moving_variance"):
        mine = getattr(alone.get_layer("norm"), name).numpy()
        assert np.allclose(getattr(model.get_layer("norm"), name), mine / 2 + 2, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("jit", ["update", "all"])
def test_a_compiled_step_is_the_step(jit: Jit, precision: Precision) -> None:
    config = replace(CONFIG, batch_size=4, precision=precision, weight_decay=0.01, clip_norm=1.0)
    models = [small(CLASSES, SIDE, auxiliary=True) for _ in range(2)]
    plain, compiled = (
        stepped(model, 3, 0.1, replace(config, jit=kind)) for model, kind in zip(models, ("none", jit), strict=True)
    )
    for expected, found in zip(plain, compiled, strict=True):
        assert found[:2] == pytest.approx(expected[:2], rel=1e-5)
    for name, variable in named_variables(models[0]).items():
        assert np.allclose(variable, named_variables(models[1])[name], atol=1e-6), name


def test_averages_follow() -> None:
    model = small(CLASSES, SIDE)
    state = TrainState(model, CONFIG)
    run = TrainStep(state, World(), CONFIG, BATCH)
    kernel = model.get_layer(LOGITS_LAYER).kernel
    expected = kernel.numpy()
    for step in range(4):
        take(run, step, 0.1)
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * kernel.numpy()
    assert np.allclose(state.snapshot()["logits/logits/weights/ExponentialMovingAverage"], expected, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_loss_scale_changes_no_step(optimizer: Optimizer) -> None:
    plain, scaled = small(CLASSES, SIDE), small(CLASSES, SIDE)
    [metrics] = stepped(plain, 1, 0.1, replace(CONFIG, optimizer=optimizer))
    assert stepped(scaled, 1, 0.1, replace(CONFIG, optimizer=optimizer, precision="mixed_float16"))[0].loss == metrics.loss
    assert np.allclose(plain.get_layer(LOGITS_LAYER).kernel, scaled.get_layer(LOGITS_LAYER).kernel, atol=1e-6)


def test_a_step_whose_gradients_overflow_changes_no_weight() -> None:
    config = replace(CONFIG, optimizer="adam", precision="mixed_float16", weight_decay=0.1, clip_norm=1.0)
    state = TrainState(small(CLASSES, SIDE), config)
    run = TrainStep(state, World(), config, BATCH)
    after = [*state.model.trainable_variables, *state.optimizer.variables]
    before = [variable.numpy() for variable in after]
    state.loss_scale.scale.assign(np.inf)
    assert take(run, 0, 0.001).gradient_norm == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True) if b.name != "learning_rate")
    state.loss_scale.scale.assign(INITIAL_SCALE)
    assert take(run, 1, 0.001).gradient_norm > 0
    assert not np.array_equal(before[0], after[0])


def test_gradients_that_no_loss_scale_makes_finite_are_no_overflow() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    roots = keras.layers.Lambda(tf.sqrt)(0.0 * keras.layers.Conv2D(4, SIDE)(inputs))  # its slope at 0 is infinite
    pool = keras.layers.Flatten()(roots)
    model = keras.Model(inputs, {"logits": keras.layers.Dense(CLASSES, name=LOGITS_LAYER)(pool), "pool": pool})
    steps = stepped(model, 17, 0.1, replace(CONFIG, precision="mixed_float16"))
    assert np.isfinite([step.loss for step in steps]).all()
    assert [step.gradient_norm for step in steps[:15]] == [0.0] * 15
    assert np.isnan([step.gradient_norm for step in steps[15:]]).all()
