from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.runtime.communicators import SingleProcessCommunicator
from shardtune.runtime.world import World
from shardtune.train.reduction import allreduce_gradients, divide_gradients, gradient_buckets, pack_gradients


@given(st.lists(st.integers(1, 1000), max_size=60), st.integers(1, 8))
def test_every_index_is_in_one_bucket_the_last_first(sizes: list[int], count: int) -> None:
    buckets = gradient_buckets(sizes, count)
    assert [index for bucket in buckets for index in bucket] == list(reversed(range(len(sizes))))
    assert len(buckets) <= count
    assert all(buckets)
    mean = sum(sizes) / count
    assert all(sum(sizes[index] for index in bucket) <= mean + max(sizes) for bucket in buckets)


@given(st.lists(st.tuples(st.integers(1, 1000), st.booleans()), max_size=60), st.integers(1, 2000))
def test_gradients_are_divided_into_parts_of_one_kind_and_of_limited_size(
    gradients: list[tuple[int, bool]], max_size: int
) -> None:
    sizes, kinds = [size for size, _ in gradients], [kind for _, kind in gradients]
    buckets = divide_gradients(sizes, kinds, max_size)
    assert [sorted(index for part in bucket for index in part) for bucket in buckets] == [
        sorted(bucket) for bucket in gradient_buckets(sizes)
    ]
    for part in (part for bucket in buckets for part in bucket):
        assert len({kinds[index] for index in part}) == 1
        assert len(part) == 1 or sum(sizes[index] for index in part) <= max_size
    for bucket in buckets:  # no fewer parts would do in this order
        for before, after in pairwise(bucket):
            joined = sum(sizes[index] for index in [*before, after[0]])
            assert kinds[before[0]] != kinds[after[0]] or joined > max_size


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
    values = {"b": [tf.constant(1 / 3)], "a": tf.constant(0.0)}
    sums, extra = allreduce_gradients(pack_gradients(tensors, [[[7, 6], [5]], [[4, 3, 2], [1, 0]]]), values, world, compression)
    assert {vector.dtype for vector in sums} == {tf.float32}
    assert float(sums[-1][-1]) == np.float32(2) * np.float32(value)
    assert float(extra["b"][0]) == np.float32(2) * np.float32(exact)
    assert float(extra["a"]) == 0
    expected = [[2 * size / 3 for size in sizes for _ in range(size)] for sizes in ([8, 7], [6], [5, 4, 3], [2, 1])]
    assert [vector.numpy().tolist() for vector in sums] == [pytest.approx(values, rel=1e-3) for values in expected]
