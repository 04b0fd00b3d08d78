import keras
import numpy as np
import pytest
import tensorflow as tf

from shardtune.model.averages import ExponentialMovingAverage
from shardtune.model.packing import PackedVariables


@pytest.mark.parametrize("decay", [0.9999, 0.5, 0.0])
def test_averages_equal_those_of_tensorflow_1(decay: float) -> None:
    variable, reference_variable = keras.Variable([1.0, -2.0], dtype="float32"), tf.Variable([1.0, -2.0])
    group = PackedVariables({"conv0/weights": variable}, "weights")
    averages = ExponentialMovingAverage([group], decay)
    steps = tf.Variable(0, dtype=tf.int64)
    reference = tf.train.ExponentialMovingAverage(decay, num_updates=steps)
    reference.apply([reference_variable])
    averages.reset()
    for step, value in enumerate(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)):
        steps.assign(step)
        for v in (variable, reference_variable):
            v.assign(value)
        group.read()
        reference.apply([reference_variable])
        averages.update(tf.constant(step, tf.int64))
    [average] = averages.vectors
    assert np.allclose(average, reference.average(reference_variable), rtol=1e-6)
    assert np.array_equal(average, variable) == (decay == 0)


def test_reset_sets_averages_to_the_current_values_and_they_can_be_put_in_place_of_the_variables() -> None:
    variable = keras.Variable(1.0, dtype="float32")
    group = PackedVariables({"v": variable}, "v")
    averages = ExponentialMovingAverage([group], 0.9)
    variable.assign(7.0)
    group.read()
    averages.reset()
    assert averages.vectors[0].numpy() == [7.0]
    variable.assign(8.0)
    group.read()
    with averages.applied():
        assert variable.numpy() == 7.0
    assert variable.numpy() == 8.0
    assert averages.vectors[0].numpy() == [7.0]
