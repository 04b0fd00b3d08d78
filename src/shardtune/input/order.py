"""The order in which a run sees the training examples: a pure function that never asks how many workers there are."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@lru_cache(maxsize=2)  # a global batch touches two epochs at most, unless an epoch is smaller than a batch
def epoch_order(examples: int, seed: int, epoch: int) -> Indices:
    """The permutation of 0 … examples − 1 that `epoch` goes through, int64 [examples]."""
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(examples)
    order.flags.writeable = False  # it is shared through the cache
    return order


def global_batch(examples: int, seed: int, step: int, size: int) -> tuple[Indices, Indices]:
    """Examples of global batch `step` (from 0) and the epoch of each, both int64 [size].

    Batches are slices of all epochs laid end to end, so the last batch of an epoch runs on into the next.
    """
    positions = np.arange(step * size, (step + 1) * size, dtype=np.int64)
    epochs = positions // examples
    batch = np.empty(size, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        batch[here] = epoch_order(examples, seed, int(epoch))[positions[here] % examples]
    return batch, epochs
