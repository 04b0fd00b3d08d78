"""Sums of gradients over all workers, in groups, so that the first travel while the last are still computed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
from shardtune.train.config import GradientCompression

NUM_BUCKETS = 4


def gradient_buckets(sizes: Sequence[int], count: int = NUM_BUCKETS) -> list[list[int]]:
    """Places 0 … len(sizes) − 1 in the order in which back-propagation comes to them, the last first, in at most `count` groups
    of about equal size; none is empty."""
    backwards = list(reversed(range(len(sizes))))
    ends = np.cumsum([sizes[place] for place in backwards])
    total = ends[-1] if len(ends) else 0
    group = [min(count - 1, int(count * (end - sizes[place]) // total)) for place, end in zip(backwards, ends, strict=True)]
    return [[place for place, its in zip(backwards, group, strict=True) if its == number] for number in sorted(set(group))]


def allreduce_gradients(
    tensors: list[Any], exact: list[Any], world: World, compression: GradientCompression
) -> tuple[list[Any], list[Any]]:
    """Element-wise sums over all workers; callable inside a tf.function.

    The groups depend on the shapes alone, so that the same world adds the same numbers in the same order every time.

    Args:
        tensors: gradients, float32, in the order of the forward pass; with compression they travel in half precision.
        exact: float32 tensors that go with the last group, never in half precision.
    """
    groups = gradient_buckets([tensor.shape.num_elements() for tensor in tensors])
    packed = [[tensors[place] for place in group] for group in groups]
    if compression == "fp16":  # a group travels in one precision
        packed = [[tf.cast(tensor, tf.float16) for tensor in group] for group in packed] + [exact]
    else:
        packed[-1] += exact
    summed = [
        tf.cast(tensor, tf.float32)
        for number, group in enumerate(packed)
        for tensor in world.allreduce_sum(group, f"gradients.{number}")
    ]
    places = [place for group in groups for place in group]
    return [summed[places.index(place)] for place in range(len(tensors))], summed[len(tensors) :]
