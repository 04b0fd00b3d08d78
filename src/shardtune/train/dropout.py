"""Dropout whose masks are a function of (seed, step, place in the global batch), whoever computes them."""

from typing import Any

from shardtune.runtime.frameworks import tf

RATE = 0.2  # research/inception slim/inception_model.py: dropout_keep_prob=0.8
PHILOX = 1
PER_BLOCK = 4  # numbers that one value of Philox's counter gives


def mask(seed: int, step: Any, first: Any, rows: Any, units: int) -> Any:
    """What features are multiplied by: 0 with probability `RATE`, else 1 / (1 − `RATE`); float32 [rows, units].

    Philox counts its blocks (Salmon et al. 2011): those of a row lie behind those of all rows before it, and the step is the
    upper half of the counter, so that any rows can be drawn without the others.

    Args:
        seed: at least 0.
        step: int64 scalar.
        first: place of the first row in the global batch, int64 scalar.
        rows: how many.
        units: columns.
    """
    blocks = -(-units // PER_BLOCK)
    noise = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.stack([rows, blocks * PER_BLOCK]),
        key=tf.constant([seed], tf.uint64),
        counter=tf.cast(tf.stack([first * blocks, step]), tf.uint64),
        alg=PHILOX,
        dtype=tf.float32,
    )
    return tf.cast(noise[:, :units] >= RATE, tf.float32) / (1 - RATE)
