import keras
import numpy as np
import tensorflow as tf

from shardtune.model.packing import PackedVariables, pack


def test_values_are_packed_in_order_and_written_back() -> None:
    values = {"a": np.arange(6.0).reshape(2, 3), "b": 7.0, "c": [8.0, 9.0]}
    variables = {name: keras.Variable(value, dtype="float32") for name, value in values.items()}
    group = PackedVariables(variables, "some")
    assert group.vector.numpy().tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    group.vector.assign(group.vector.value * 2)
    tf.function(group.write, autograph=False)()
    assert [variable.numpy().tolist() for variable in variables.values()] == [[[0, 2, 4], [6, 8, 10]], 14, [16, 18]]
    parts = group.unpack(group.vector.numpy() + 1)
    assert {name: part.tolist() for name, part in parts.items()} == {"a": [[1, 3, 5], [7, 9, 11]], "b": 15, "c": [17, 19]}
    variables["b"].assign(-1.0)
    group.read()
    assert group.vector.numpy().tolist() == [0, 2, 4, 6, 8, 10, -1, 16, 18]


def test_there_may_be_nothing_to_pack() -> None:
    group = PackedVariables({}, "none")
    group.read()
    group.write()
    assert group.vector.shape == pack([]).shape == (0,)
    assert group.unpack(group.vector.numpy()) == {}
