"""Sums of gradients over all workers, in buckets: the first travel while the last are still computed."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from shardtune.model.packing import pack
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
from shardtune.train.config import GradientCompression

NUM_BUCKETS = 4

T = TypeVar("T")


def gradient_buckets(sizes: Sequence[int], count: int = NUM_BUCKETS) -> list[list[int]]:
    """Divide the indices 0 … len(sizes) − 1 into at most `count` buckets of about equal size; none is empty.

    The order is that of back-propagation: the last index comes first.
    """
    backwards = list(reversed(range(len(sizes))))
    ends = np.cumsum([sizes[index] for index in backwards])
    total = ends[-1] if len(ends) else 0
    numbers = [min(count - 1, int(count * (end - sizes[index]) // total)) for index, end in zip(backwards, ends, strict=True)]
    return [
        [index for index, its_number in zip(backwards, numbers, strict=True) if its_number == number]
        for number in sorted(set(numbers))
    ]


class GradientPacking:
    """Gradients as a few vectors: in each bucket, one for each group of variables.

    Args:
        sizes: number of elements of each gradient, in the order of the forward pass.
        groups: the number of the group of each gradient: 0 or 1.
    """

    def __init__(self, sizes: Sequence[int], groups: Sequence[int]) -> None:
        self._buckets = [
            {group: [index for index in bucket if groups[index] == group] for group in {groups[index] for index in bucket}}
            for bucket in gradient_buckets(sizes)
        ]

    def order(self, group: int) -> list[int]:
        """The indices of a group's gradients in the order in which `join` gives them."""
        return [index for bucket in self._buckets for index in bucket.get(group, [])]

    def pack(self, gradients: Sequence[Any]) -> list[dict[int, Any]]:
        """For each bucket the vectors, by number of the group."""
        return [
            {group: pack([gradients[index] for index in indices]) for group, indices in bucket.items()}
            for bucket in self._buckets
        ]

    def join(self, buckets: Sequence[Mapping[int, Any]]) -> list[Any]:
        """One vector for each group."""
        return [pack([bucket[group] for bucket in buckets if group in bucket]) for group in (0, 1)]


def allreduce_gradients(
    buckets: Sequence[Mapping[int, Any]], exact: T, world: World, compression: GradientCompression
) -> tuple[list[dict[int, Any]], T]:
    """Element-wise sums over all workers; callable inside a tf.function.

    Args:
        buckets: of `GradientPacking.pack`; with compression they travel in half precision.
        exact: a nested structure of float32 tensors that travel with the last bucket, never in half precision.
    """
    summed = []
    for number, bucket in enumerate(buckets):
        vectors = list(bucket.values())
        if compression == "fp16":
            vectors = [tf.cast(vector, tf.float16) for vector in vectors]
        elif number == len(buckets) - 1:
            vectors += tf.nest.flatten(exact)
        summed.append(world.allreduce_sum(vectors, f"gradients.{number}"))
    last = summed[-1][len(buckets[-1]) :] or world.allreduce_sum(tf.nest.flatten(exact), "exact")
    sums = [
        {group: tf.cast(vector, tf.float32) for group, vector in zip(bucket, vectors, strict=False)}
        for bucket, vectors in zip(buckets, summed, strict=True)
    ]
    return sums, tf.nest.pack_sequence_as(exact, last)
