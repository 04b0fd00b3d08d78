from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shardtune.train.config import Optimizer
from shardtune.train.optimizers import add_weight_decay, build_optimizer

GENERATOR = np.random.default_rng(0)
START = GENERATOR.normal(size=(4, 3)).astype(np.float32)
GRADIENTS = GENERATOR.normal(size=(5, 4, 3)).astype(np.float32)


def stepped(name: Optimizer, rate: float, weight_decay: float = 0.0) -> Any:
    variable = keras.Variable(START)
    optimizer = build_optimizer(name, [variable], [True], weight_decay)
    optimizer.learning_rate.assign(rate)
    for gradient in GRADIENTS:
        optimizer.apply(add_weight_decay(name, [tf.constant(gradient)], [variable], [True], weight_decay), [variable])
    return variable.numpy()


def by_tensorflow_1(make_optimizer: Any, weight_decay: float) -> Any:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("w", initializer=START)
        gradient = tf.compat.v1.placeholder(tf.float32, START.shape)
        loss = tf.reduce_sum(gradient * variable) + weight_decay * tf.nn.l2_loss(variable)
        step = make_optimizer(tf.compat.v1.train).minimize(loss)
        session.run(tf.compat.v1.global_variables_initializer())
        for value in GRADIENTS:
            session.run(step, {gradient: value})
        return session.run(variable)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("rmsprop", lambda train: train.RMSPropOptimizer(0.1, 0.9, momentum=0.9, epsilon=1.0)),
        ("sgd", lambda train: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True)),
        ("adam", lambda train: train.AdamOptimizer(0.1, epsilon=1e-7)),  # as Keras
    ],
)
def test_optimizers_are_those_of_tensorflow_1(name: Optimizer, reference: Any, weight_decay: float) -> None:
    expected = by_tensorflow_1(reference, weight_decay)
    assert np.abs(expected - START).max() > 0.05
    assert np.allclose(stepped(name, 0.1, weight_decay), expected, rtol=1e-5, atol=1e-6)


def test_adamw_decays_apart_from_the_gradients() -> None:
    variable = keras.Variable(START)
    optimizer = build_optimizer("adamw", [variable], [True], 0.5)
    optimizer.learning_rate.assign(0.1)
    optimizer.apply(add_weight_decay("adamw", [tf.zeros_like(START)], [variable], [True], 0.5), [variable])
    assert np.allclose(variable, START * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_biases_and_batch_norm_do_not_decay(name: Optimizer) -> None:
    kernel, bias = keras.Variable(START), keras.Variable(START[0])
    optimizer = build_optimizer(name, [kernel, bias], [True, False], 0.1)
    still = [tf.zeros_like(START), tf.zeros_like(START[0])]
    optimizer.apply(add_weight_decay(name, still, [kernel, bias], [True, False], 0.1), [kernel, bias])
    assert np.array_equal(bias, START[0])
    assert not np.array_equal(kernel, START)
