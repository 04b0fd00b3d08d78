"""Exponential moving averages of everything that training changes. research/inception evaluates these, not the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shardtune.runtime.frameworks import tf

EMA_SUFFIX = "/ExponentialMovingAverage"  # TensorFlow 1 adds it to the name of the variable


class ExponentialMovingAverage:
    """One average for each variable, updated after every step like tf.train.ExponentialMovingAverage with `num_updates`:
    `average = d × average + (1 − d) × variable`, where d = min(decay, (1 + step) / (10 + step)).

    Attributes:
        variables: the averages as TensorFlow variables. Their keys are the keys of the source variables plus EMA_SUFFIX.
    """

    def __init__(self, variables: dict[str, Any], decay: float) -> None:
        self._sources, self._decay = list(variables.values()), decay
        self.variables = {f"{name}{EMA_SUFFIX}": tf.Variable(variable, trainable=False) for name, variable in variables.items()}

    def reset(self) -> None:
        """Set every average to the current value of its variable."""
        for average, variable in self._pairs():
            average.assign(variable)

    def update(self, step: Any) -> None:
        """Update the averages after `step` (integer scalar, counted from 0). Can be called inside a tf.function."""
        step = tf.cast(step, tf.float32)
        rate = 1 - tf.minimum(self._decay, (1 + step) / (10 + step))
        for average, variable in self._pairs():
            average.assign_sub(rate * (average - tf.convert_to_tensor(variable)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context, the variables hold their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for average, variable in self._pairs():
            value = tf.identity(variable.value)
            variable.assign(average)
            average.assign(value)

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.variables.values(), self._sources, strict=True)
