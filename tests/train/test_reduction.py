from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.runtime.communicators import SingleProcessCommunicator
from shardtune.runtime.world import World
from shardtune.train.reduction import allreduce_gradients, gradient_buckets


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
    sums, extra = allreduce_gradients(tensors, {"b": [tf.constant(1 / 3)], "a": tf.constant(0.0)}, world, compression)
    assert [tensor.shape.num_elements() for tensor in sums] == list(range(1, 9))
    assert {tensor.dtype for tensor in sums} == {tf.float32}
    assert float(sums[0][0]) == np.float32(2) * np.float32(value)
    assert float(extra["b"][0]) == np.float32(2) * np.float32(exact)
    assert float(extra["a"]) == 0
    assert [float(tensor[0]) for tensor in sums] == pytest.approx([2 * size / 3 for size in range(1, 9)], rel=1e-3)
