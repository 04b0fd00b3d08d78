"""The order in which a run sees the training examples: a pure function that never asks how many workers there are.

Examples are numbered in the order of the data set. An epoch takes blocks of neighbouring records in random order, and
the records of each window of blocks in random order, so that what is read at about the same time lies side by side.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shardtune.runtime.world import World

Indices = npt.NDArray[np.int64]
BLOCK = 8  # records: half a megabyte of photographs, which any storage reads at nearly its full speed
WINDOW = 64  # blocks: 512 records are what a batch is mixed from


def rank_slice(size: int, world: World) -> tuple[int, int]:
    """First and last (exclusive) place of a global batch of `size` that this rank takes; parts differ by at most one."""
    begin, end = (rank * size // world.size for rank in (world.rank, world.rank + 1))
    return begin, end


def global_batch(shards: Sequence[int], seed: int, step: int, size: int) -> tuple[Indices, Indices]:
    """Examples of global batch `step` (from 0) and the epoch of each, both int64 [size].

    Batches are slices of all epochs laid end to end, so the last batch of an epoch runs on into the next.

    Args:
        shards: examples in each shard; at least one in all.
        seed: at least 0.
    """
    shards = tuple(shards)
    epochs, places = np.divmod(np.arange(step * size, (step + 1) * size, dtype=np.int64), sum(shards))
    examples = np.empty_like(places)
    for epoch in np.unique(epochs):  # sorted: with one order in the cache, each is computed once
        here = epochs == epoch
        examples[here] = epoch_permutation(shards, seed, int(epoch))[places[here]]
    return examples, epochs


@lru_cache(maxsize=1)
def epoch_permutation(shards: tuple[int, ...], seed: int, epoch: int, block: int = BLOCK) -> Indices:
    """The permutation of all examples that `epoch` goes through, int64 [sum of `shards`].

    Args:
        shards: examples in each shard.
        seed, epoch: at least 0.
        block: neighbouring records of a shard that stay in one window; the last block of a shard may be smaller.
    """
    bits = np.random.PCG64([seed, epoch])
    starts, sizes = _blocks(shards, block)
    order = np.empty(sum(shards), np.int64)
    filled = 0
    for window in np.array_split(_shuffled(np.arange(len(starts)), bits), -(-len(starts) // WINDOW)):
        ends = np.cumsum(sizes[window])
        records = np.arange(ends[-1]) + np.repeat(starts[window] - ends + sizes[window], sizes[window])
        order[filled : filled + len(records)] = _shuffled(records, bits)
        filled += len(records)
    order.flags.writeable = False  # it is shared through the cache
    return order


def _shuffled(values: Indices, bits: np.random.PCG64) -> Indices:
    # NumPy keeps the raw numbers of a bit generator as they are, but not what a Generator makes of them.
    return values[np.argsort(bits.random_raw(len(values)), kind="stable")]


def _blocks(shards: Sequence[int], block: int) -> tuple[Indices, Indices]:
    """First example and number of examples of each block; none reaches over the end of its shard."""
    ends = np.cumsum(np.array(shards, np.int64))
    starts = np.concatenate([np.arange(end - size, end, block) for end, size in zip(ends, shards, strict=True)])
    limits = np.repeat(ends, [-(-size // block) for size in shards])
    return starts, np.minimum(starts + block, limits) - starts
