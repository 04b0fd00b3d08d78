"""Sums of gradients over all workers, in buckets: the first travel while the last are still computed."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

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


def allreduce_gradients(gradients: list[Any], exact: T, world: World, compression: GradientCompression) -> tuple[list[Any], T]:
    """Element-wise sums over all workers; callable inside a tf.function.

    The buckets depend on the shapes alone: the same world adds the same numbers in the same order every time.

    Args:
        gradients: float32, in the order of the forward pass; with compression they travel in half precision.
        exact: a nested structure of float32 tensors that travel with the last bucket, never in half precision.
    """
    buckets = gradient_buckets([gradient.shape.num_elements() for gradient in gradients])
    packed = [[gradients[index] for index in bucket] for bucket in buckets]
    if compression == "fp16":  # one bucket travels in one precision
        packed = [[tf.cast(gradient, tf.float16) for gradient in bucket] for bucket in packed] + [tf.nest.flatten(exact)]
    else:
        packed[-1] += tf.nest.flatten(exact)
    summed = [
        tf.cast(tensor, tf.float32)
        for number, bucket in enumerate(packed)
        for tensor in world.allreduce_sum(bucket, f"gradients.{number}")
    ]
    indices = [index for bucket in buckets for index in bucket]
    in_order = [summed[indices.index(index)] for index in range(len(gradients))]
    return in_order, tf.nest.pack_sequence_as(exact, summed[len(gradients) :])
