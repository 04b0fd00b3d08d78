"""Exponential moving averages of everything that training changes. research/inception evaluates these, not the weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from shardtune.model.packing import PackedVariables
from shardtune.runtime.frameworks import tf

EMA_SUFFIX = "/ExponentialMovingAverage"  # TensorFlow 1 adds it to the name of the variable


class ExponentialMovingAverage:
    """One average for each variable, updated after every step like tf.train.ExponentialMovingAverage with `num_updates`:
    `average = d × average + (1 − d) × variable`, where d = min(decay, (1 + step) / (10 + step)).

    Attributes:
        vectors: the averages of each group's vector.
    """

    def __init__(self, groups: Sequence[PackedVariables], decay: float) -> None:
        self._groups, self._decay = groups, decay
        self.vectors = [tf.Variable(group.vector.value, trainable=False) for group in groups]

    def reset(self) -> None:
        """Set every average to the current value of its variable."""
        for average, group in self._pairs():
            average.assign(group.vector.value)

    def update(self, step: Any) -> None:
        """Update the averages after `step` (integer scalar, counted from 0). Can be called inside a tf.function."""
        step = tf.cast(step, tf.float32)
        rate = 1 - tf.minimum(self._decay, (1 + step) / (10 + step))
        for average, group in self._pairs():
            average.assign_sub(rate * (average - group.vector.value))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context, the variables hold their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for average, group in self._pairs():
            value = tf.identity(group.vector.value)
            group.vector.assign(average)
            average.assign(value)
            group.write()

    def _pairs(self) -> Iterator[tuple[Any, PackedVariables]]:
        return zip(self.vectors, self._groups, strict=True)
