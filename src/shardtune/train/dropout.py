"""Dropout masks that are a function of (seed, step, row of the global batch), whichever worker computes them."""

from typing import Any

from shardtune.runtime.frameworks import tf

RATE = 0.2  # research/inception slim/inception_model.py: dropout_keep_prob=0.8
PHILOX = 1  # TensorFlow's number of the algorithm
VALUES_PER_BLOCK = 4  # that one value of Philox's counter gives


def dropout_mask(seed: int, step: Any, first_row: Any, rows: Any, units: int) -> Any:
    """Factors for features: 0 with probability `RATE`, else 1 / (1 − `RATE`); float32 [rows, units].

    Philox numbers its blocks of values by a counter (Salmon et al. 2011). The blocks of a row follow those of all rows before
    it, and the step is the upper half of the counter: any rows can be computed without the others.

    Args:
        seed: at least 0.
        step: int64 scalar.
        first_row: index of the first row in the global batch, int64 scalar.
        rows: how many.
        units: columns.
    """
    blocks = -(-units // VALUES_PER_BLOCK)
    noise = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.stack([rows, blocks * VALUES_PER_BLOCK]),
        key=tf.constant([seed], tf.uint64),
        counter=tf.cast(tf.stack([first_row * blocks, step]), tf.uint64),
        alg=PHILOX,
        dtype=tf.float32,
    )
    return tf.cast(noise[:, :units] >= RATE, tf.float32) / (1 - RATE)
