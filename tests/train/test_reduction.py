from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.runtime.communicators import SingleProcessCommunicator
from shardtune.runtime.world import World
from shardtune.train.reduction import GradientPacking, allreduce_gradients, gradient_buckets


@given(st.lists(st.integers(1, 1000), max_size=60), st.integers(1, 8))
def test_every_index_is_in_one_bucket_the_last_first(sizes: list[int], count: int) -> None:
    buckets = gradient_buckets(sizes, count)
    assert [index for bucket in buckets for index in bucket] == list(reversed(range(len(sizes))))
    assert len(buckets) <= count
    assert all(buckets)
    mean = sum(sizes) / count
    assert all(sum(sizes[index] for index in bucket) <= mean + max(sizes) for bucket in buckets)


def test_equal_sizes_make_equal_buckets() -> None:
    assert gradient_buckets([5] * 6, 3) == [[5, 4], [3, 2], [1, 0]]


class WithATwin(SingleProcessCommunicator):
    """A second worker that brings the same."""

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        return [tensor + tensor for tensor in tensors]


@pytest.mark.parametrize(("compression", "value", "exact"), [("none", 1 / 3, 1 / 3), ("fp16", np.float16(1 / 3), 1 / 3)])
def test_sums_keep_their_order_and_compression_spares_what_is_exact(compression: Any, value: float, exact: float) -> None:
    tensors = [tf.fill([size], float(size)) / 3 for size in range(1, 9)]
    world = World(0, 2, 0, 2, WithATwin())
    packing = GradientPacking(range(1, 9), [0] * 8)
    values = {"b": [tf.constant(1 / 3)], "a": tf.constant(0.0)}
    buckets, extra = allreduce_gradients(packing.pack(tensors), values, world, compression)
    vector, nothing = packing.join(buckets)
    assert vector.dtype == tf.float32
    assert nothing.shape == (0,)
    assert float(vector[-1]) == np.float32(2) * np.float32(value)
    assert float(extra["b"][0]) == np.float32(2) * np.float32(exact)
    assert float(extra["a"]) == 0
    expected = [2 * size / 3 for size in range(8, 0, -1) for _ in range(size)]
    assert vector.numpy().tolist() == pytest.approx(expected, rel=1e-3)


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1)), min_size=1, max_size=60))
def test_gradients_are_packed_once_each_in_the_order_of_their_group(gradients: list[tuple[int, int]]) -> None:
    sizes, groups = zip(*gradients, strict=True)
    packing = GradientPacking(sizes, groups)
    assert sorted(packing.order(0) + packing.order(1)) == list(range(len(sizes)))
    assert {groups[index] for index in packing.order(1)} <= {1}
    tensors = [tf.fill([size], float(index)) for index, size in enumerate(sizes)]
    for group, vector in enumerate(packing.join(packing.pack(tensors))):
        assert vector.numpy().tolist() == [float(index) for index in packing.order(group) for _ in range(sizes[index])]
