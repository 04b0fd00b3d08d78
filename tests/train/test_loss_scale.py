import numpy as np
import pytest
import tensorflow as tf

from shardtune.train.loss_scale import GROWTH_STEPS, INITIAL_SCALE, LossScale

FINE = [tf.constant([1.0, -2.0]), tf.constant(3.0)]


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_overflow_halves_the_scale_and_is_reported(bad: float) -> None:
    scale = LossScale()
    assert scale.update(FINE)
    assert not scale.update([tf.constant([1.0, bad]), tf.constant(3.0)])
    assert scale.scale.numpy() == INITIAL_SCALE / 2
    assert scale.finite_steps.numpy() == 0


def test_finite_steps_in_a_row_double_it() -> None:
    scale = LossScale()
    scale.finite_steps.assign(GROWTH_STEPS - 2)
    assert scale.update(FINE)
    assert (scale.scale.numpy(), scale.finite_steps.numpy()) == (INITIAL_SCALE, GROWTH_STEPS - 1)
    assert scale.update(FINE)
    assert (scale.scale.numpy(), scale.finite_steps.numpy()) == (2 * INITIAL_SCALE, 0)


def test_it_never_falls_below_one() -> None:
    scale = LossScale()
    for _ in range(20):
        scale.update([tf.constant(np.inf)])
    assert scale.scale.numpy() == 1


def test_unscaled_gradients_are_those_of_the_loss() -> None:
    assert [g.numpy().tolist() for g in LossScale().unscale([tf.constant([INITIAL_SCALE, -2 * INITIAL_SCALE])])] == [
        [1.0, -2.0]
    ]
