import numpy as np
import pytest
import tensorflow as tf

from shardtune.model.averages import EMA_SUFFIX, ExponentialMovingAverage


@pytest.mark.parametrize("decay", [0.9999, 0.5, 0.0])
def test_averages_equal_those_of_tensorflow_1(decay: float) -> None:
    variable, reference_variable = tf.Variable([1.0, -2.0]), tf.Variable([1.0, -2.0])
    averages = ExponentialMovingAverage({"conv0/weights": variable}, decay)
    steps = tf.Variable(0, dtype=tf.int64)
    reference = tf.train.ExponentialMovingAverage(decay, num_updates=steps)
    reference.apply([reference_variable])
    averages.reset()
    for step, value in enumerate(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)):
        steps.assign(step)
        for v in (variable, reference_variable):
            v.assign(value)
        reference.apply([reference_variable])
        averages.update(tf.constant(step, tf.int64))
    ((name, average),) = averages.variables.items()
    assert name == f"conv0/weights{EMA_SUFFIX}"
    assert np.allclose(average, reference.average(reference_variable), rtol=1e-6)
    assert np.array_equal(average, variable) == (decay == 0)


def test_reset_sets_averages_to_the_current_values() -> None:
    variable = tf.Variable(1.0)
    averages = ExponentialMovingAverage({"v": variable}, 0.9)
    variable.assign(7.0)
    averages.reset()
    assert averages.variables[f"v{EMA_SUFFIX}"].numpy() == 7.0
