"""Moving averages of all that training changes: research/inception evaluates these in place of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shardtune.runtime.frameworks import tf

EMA_SUFFIX = "/ExponentialMovingAverage"  # what TensorFlow 1 adds to the name of a variable


class ExponentialMovingAverage:
    """The twins of `variables`: `average = d × average + (1 − d) × variable` after each step, d = min(decay, (1 + step) /
    (10 + step)), as tf.train.ExponentialMovingAverage does when it is told the step.

    Attributes:
        variables: the twins, by the names of the variables followed by EMA_SUFFIX.
    """

    def __init__(self, variables: dict[str, Any], decay: float) -> None:
        self._sources, self._decay = list(variables.values()), decay
        self.variables = {f"{name}{EMA_SUFFIX}": tf.Variable(variable, trainable=False) for name, variable in variables.items()}

    def reset(self) -> None:
        """Begin with the variables' values."""
        for twin, variable in zip(self.variables.values(), self._sources, strict=True):
            twin.assign(variable)

    def update(self, step: Any) -> None:
        """Take in the values after `step`, counted from 0; callable inside a tf.function."""
        step = tf.cast(step, tf.float32)
        pull = 1 - tf.minimum(self._decay, (1 + step) / (10 + step))
        for twin, variable in zip(self.variables.values(), self._sources, strict=True):
            twin.assign_sub(pull * (twin - tf.convert_to_tensor(variable)))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Meanwhile the variables hold the averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for twin, variable in zip(self.variables.values(), self._sources, strict=True):
            value = tf.identity(variable.value)
            variable.assign(twin)
            twin.assign(value)
