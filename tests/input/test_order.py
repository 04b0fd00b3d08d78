import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardtune.input.order import BLOCK_RECORDS, WINDOW_BLOCKS, epoch_permutation, global_batch, rank_slice
from shardtune.runtime.world import World

SHARDS = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any).map(tuple)
SEEDS = st.integers(0, 2**63 - 1)


@given(SHARDS, SEEDS, st.integers(0, 10**6), st.integers(1, 100))
def test_an_epoch_is_a_permutation(shards: tuple[int, ...], seed: int, epoch: int, block: int) -> None:
    assert sorted(epoch_permutation(shards, seed, epoch, block)) == list(range(sum(shards)))


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=4).filter(any).map(tuple), SEEDS)
def test_neighbouring_records_are_taken_at_about_the_same_time(shards: tuple[int, ...], seed: int) -> None:
    position = np.argsort(epoch_permutation(shards, seed, 0))
    first = 0
    for examples in shards:
        for begin in range(first, first + examples, BLOCK_RECORDS):
            block = position[begin : min(begin + BLOCK_RECORDS, first + examples)]
            assert block.max() - block.min() < BLOCK_RECORDS * WINDOW_BLOCKS
        first += examples


def test_batches_are_mixed_from_all_over_the_data_set() -> None:
    order = epoch_permutation((2000,) * 10, 0, 0)
    for batch in order[: 20_000 // 32 * 32].reshape(-1, 32):
        assert len(set((batch // BLOCK_RECORDS).tolist())) > 16  # blocks
        assert len(set((batch // 2000).tolist())) > 4  # shards


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [epoch_permutation((60, 40), seed, epoch).tolist() for seed in range(4) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 16
    assert list(range(100)) not in orders


@given(SHARDS, SEEDS, st.integers(0, 10**6), st.integers(1, 80), st.integers(0, 300))
@settings(max_examples=200)
def test_ranks_together_see_each_epoch_once_in_its_order(
    shards: tuple[int, ...], seed: int, epoch: int, ranks: int, more: int
) -> None:
    # More ranks than shards, and than examples, included.
    examples, size = sum(shards), ranks + more
    first, last = epoch * examples // size, -(-(epoch + 2) * examples // size)  # steps that hold two whole epochs
    seen, epochs = [], []
    for step in range(first, last):
        indices, of = global_batch(shards, seed, step, size)
        for rank in range(ranks):
            begin, end = rank_slice(size, World(rank, ranks, rank, ranks))
            assert end > begin
            seen.extend(indices[begin:end].tolist())
            epochs.extend(of[begin:end].tolist())
    skipped = epoch * examples - first * size
    for number in (epoch, epoch + 1):
        assert [index for index, of in zip(seen, epochs, strict=True) if of == number] == list(
            epoch_permutation(shards, seed, number)
        )
    assert epochs == [(first * size + position) // examples for position in range(len(seen))]
    assert sorted(seen[skipped : skipped + examples]) == list(range(examples))


@given(SHARDS, SEEDS, st.integers(0, 10**9), st.integers(1, 16), st.integers(1, 6))
def test_a_global_batch_is_the_same_in_one_step_or_in_several(
    shards: tuple[int, ...], seed: int, step: int, size: int, parts: int
) -> None:
    whole = global_batch(shards, seed, step, size * parts)
    cut = [global_batch(shards, seed, step * parts + number, size) for number in range(parts)]
    assert whole[0].tolist() == [index for batch, _ in cut for index in batch]
    assert whole[1].tolist() == [epoch for _, epochs in cut for epoch in epochs]


@given(st.integers(0, 500), st.integers(1, 40))
def test_rank_slices_cover_a_batch_and_differ_by_at_most_one(size: int, ranks: int) -> None:
    parts = [rank_slice(size, World(rank, ranks, rank, ranks)) for rank in range(ranks)]
    assert [position for begin, end in parts for position in range(begin, end)] == list(range(size))
    lengths = [end - begin for begin, end in parts]
    assert max(lengths) - min(lengths) <= 1


def test_the_order_is_that_of_earlier_releases() -> None:
    # A change here would give other examples to every run that resumes.
    assert epoch_permutation((5, 3), 7, 0).tolist() == [4, 1, 2, 7, 0, 6, 5, 3]
    assert epoch_permutation((5, 3), 7, 1).tolist() == [6, 5, 2, 3, 7, 0, 4, 1]
    digests = [
        hashlib.sha256(epoch_permutation(shards, 7, 2).astype("<i8")).hexdigest()[:16] for shards in ((512,), (3000, 700, 1))
    ]
    assert digests == ["1a1d41d34fd0ab11", "75b5b79dd27afa43"]  # one window, and several


def test_an_order_is_computed_once_for_all_batches_of_an_epoch_and_then_forgotten() -> None:
    epoch_permutation.cache_clear()
    for step in range(30):
        global_batch([60, 40], 0, step, 10)
    info = epoch_permutation.cache_info()
    assert (info.misses, info.currsize) == (3, 1)


def test_nobody_can_change_an_order_that_others_read() -> None:
    with pytest.raises(ValueError, match="read-only"):
        epoch_permutation((5,), 0, 0)[0] = 1


def test_memory_is_little_more_than_one_epoch_of_integers() -> None:
    shards = (977,) * 1024
    global_batch(shards, 0, 0, 256)  # the order of the epoch before is in the cache
    tracemalloc.start()
    global_batch(shards, 0, 3 * sum(shards) // 256, 256)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1.75 * 8 * sum(shards)  # there are an eighth as many blocks as examples
