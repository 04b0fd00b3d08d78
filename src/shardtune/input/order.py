"""The order in which a run sees the training examples: a pure function, whatever the number of workers.

Examples are numbered in the order of the data set. An epoch takes blocks of neighbouring records in random order, and
the records of each window of blocks in random order, so that records read at about the same time are neighbours on disk.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shardtune.runtime.world import World

Indices = npt.NDArray[np.int64]
BLOCK_RECORDS = 8  # half a megabyte of photographs, which any storage reads at nearly its full speed
WINDOW_BLOCKS = 64  # a batch is mixed from 512 records


def rank_slice(size: int, world: World) -> tuple[int, int]:
    """First and last (exclusive) position in a global batch of `size` for this rank; slices differ by at most one in length."""
    begin, end = (rank * size // world.size for rank in (world.rank, world.rank + 1))
    return begin, end


def count_micro_batches(global_batch: int, workers: int, batch_size: int) -> int:
    """Number of micro-batches of at most `batch_size` in which every worker takes its part of a global batch: as many as the
    largest part needs, because all workers meet in each."""
    largest_part = -(-global_batch // workers)
    return -(-largest_part // batch_size)


def micro_batches(size: int, count: int) -> list[tuple[int, int]]:
    """Begin and end of `count` micro-batches of nearly equal size that cover `size` examples; with fewer examples, some are
    empty."""
    return [(number * size // count, (number + 1) * size // count) for number in range(count)]


def global_batch(shard_sizes: Sequence[int], seed: int, step: int, size: int) -> tuple[Indices, Indices]:
    """Examples of global batch `step` (from 0) and the epoch of each, both int64 [size].

    Batches are slices of one sequence of all epochs, so the last batch of an epoch may contain examples of the next.

    Args:
        shard_sizes: examples in each shard; at least one in all.
        seed: at least 0.
    """
    shard_sizes = tuple(shard_sizes)
    epochs, positions = np.divmod(np.arange(step * size, (step + 1) * size, dtype=np.int64), sum(shard_sizes))
    examples = np.empty_like(positions)
    for epoch in np.unique(epochs):  # sorted: the cache holds one permutation, so each is computed once
        in_epoch = epochs == epoch
        examples[in_epoch] = epoch_permutation(shard_sizes, seed, int(epoch))[positions[in_epoch]]
    return examples, epochs


@lru_cache(maxsize=1)
def epoch_permutation(shard_sizes: tuple[int, ...], seed: int, epoch: int, block: int = BLOCK_RECORDS) -> Indices:
    """The order of all examples in `epoch`, int64 [sum of `shard_sizes`].

    Args:
        shard_sizes: examples in each shard.
        seed, epoch: at least 0.
        block: neighbouring records of a shard that stay in one window; the last block of a shard may be smaller.
    """
    bit_generator = np.random.PCG64([seed, epoch])
    starts, sizes = _blocks(shard_sizes, block)
    order = np.empty(sum(shard_sizes), np.int64)
    filled = 0
    for window in np.array_split(_shuffle(np.arange(len(starts)), bit_generator), -(-len(starts) // WINDOW_BLOCKS)):
        ends = np.cumsum(sizes[window])
        records = np.arange(ends[-1]) + np.repeat(starts[window] - ends + sizes[window], sizes[window])
        order[filled : filled + len(records)] = _shuffle(records, bit_generator)
        filled += len(records)
    order.flags.writeable = False  # callers share it through the cache
    return order


def _shuffle(values: Indices, bit_generator: np.random.PCG64) -> Indices:
    # Between releases, NumPy keeps the raw numbers of a bit generator, but not the results of a Generator.
    return values[np.argsort(bit_generator.random_raw(len(values)), kind="stable")]


def _blocks(shard_sizes: Sequence[int], block: int) -> tuple[Indices, Indices]:
    """First example and number of examples of each block. A block ends at the end of its shard at the latest."""
    ends = np.cumsum(np.array(shard_sizes, np.int64))
    starts = np.concatenate([np.arange(end - size, end, block) for end, size in zip(ends, shard_sizes, strict=True)])
    limits = np.repeat(ends, [-(-size // block) for size in shard_sizes])
    return starts, np.minimum(starts + block, limits) - starts
