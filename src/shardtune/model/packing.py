"""Many variables as one vector. On a GPU, to start an operation takes longer than most operations on one variable do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.runtime.frameworks import keras, tf


def pack(tensors: Sequence[Any]) -> Any:
    """The values of float32 tensors, one after another, as a vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0) if tensors else tf.zeros([0])


class PackedVariables:
    """Some variables of a network and all their values in one vector.

    Training changes the vector; `write` then copies it to the variables, which the network computes with.

    Args:
        name: of the vector.

    Attributes:
        decays: whether weight decay makes the values smaller.
        variables: float32, by name.
        vector: float32 [sum of their sizes].
    """

    def __init__(self, variables: Mapping[str, Any], name: str, *, decays: bool = False) -> None:
        self.variables, self.decays = dict(variables), decays
        self._shapes = [tuple(variable.shape) for variable in self.variables.values()]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.vector = keras.Variable(self._values(), name=name, dtype="float32")

    def read(self) -> None:
        """Copy the variables to the vector."""
        self.vector.assign(self._values())

    def write(self) -> None:
        """Copy the vector to the variables. Can be called inside a tf.function."""
        parts = tf.split(self.vector.value, self._sizes) if self._sizes else []
        for variable, shape, part in zip(self.variables.values(), self._shapes, parts, strict=True):
            variable.assign(tf.reshape(part, shape))

    def unpack(self, vector: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The parts of a vector like `vector`, by the names of the variables that they belong to."""
        parts = np.split(vector, np.cumsum(self._sizes)[:-1]) if self._sizes else []
        return {name: part.reshape(shape) for name, shape, part in zip(self.variables, self._shapes, parts, strict=True)}

    def _values(self) -> Any:
        return pack([variable.value for variable in self.variables.values()])
