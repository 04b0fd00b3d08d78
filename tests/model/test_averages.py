import numpy as np
import pytest
import tensorflow as tf

from shardtune.model.averages import EMA_SUFFIX, ExponentialMovingAverage


@pytest.mark.parametrize("decay", [0.9999, 0.5, 0.0])
def test_averages_are_those_of_tensorflow_1(decay: float) -> None:
    variable, theirs = tf.Variable([1.0, -2.0]), tf.Variable([1.0, -2.0])
    averages = ExponentialMovingAverage({"conv0/weights": variable}, decay)
    steps = tf.Variable(0, dtype=tf.int64)
    reference = tf.train.ExponentialMovingAverage(decay, num_updates=steps)
    reference.apply([theirs])
    averages.reset()
    for step, value in enumerate(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)):
        steps.assign(step)
        for v in (variable, theirs):
            v.assign(value)
        reference.apply([theirs])
        averages.update(tf.constant(step, tf.int64))
    ((name, twin),) = averages.variables.items()
    assert name == f"conv0/weights{EMA_SUFFIX}"
    assert np.allclose(twin, reference.average(theirs), rtol=1e-6)
    assert np.array_equal(twin, variable) == (decay == 0)


def test_averages_begin_with_the_values_of_the_time() -> None:
    variable = tf.Variable(1.0)
    averages = ExponentialMovingAverage({"v": variable}, 0.9)
    variable.assign(7.0)
    averages.reset()
    assert averages.variables[f"v{EMA_SUFFIX}"].numpy() == 7.0
