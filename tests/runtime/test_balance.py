import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardtune.runtime.balance import balance


@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(1, 12))
def test_every_item_is_assigned_once_and_evenly(weights: list[int], ranks: int) -> None:
    assigned = balance(weights, ranks)
    assert len(assigned) == ranks
    assert all(indices == sorted(indices) for indices in assigned)
    assert sorted(index for indices in assigned for index in indices) == list(range(len(weights)))
    loads = [sum(weights[index] for index in indices) for indices in assigned]
    assert max(loads) <= sum(weights) / ranks + max(weights, default=0)


def test_each_rank_gets_an_item_where_there_are_enough() -> None:
    assert balance([5] * 6, 3) == [[0, 3], [1, 4], [2, 5]]
    assert balance([1, 1, 9], 2) == [[2], [0, 1]]
    assert balance([3], 3) == [[0], [], []]


@given(st.integers(1, 16), st.integers(8, 16), st.integers(0, 2**32 - 1))
def test_skewed_file_sizes_are_shared_out_evenly(ranks: int, shards_per_rank: int, seed: int) -> None:
    # Log-normal with σ = 1.5: a hundredth of the files holds a fifth of the bytes. Photographs are less skewed.
    sizes = np.random.default_rng(seed).lognormal(10, 1.5, 20_000).astype(np.int64)
    weights = [int(part.sum()) for part in np.array_split(sizes, ranks * shards_per_rank)]
    loads = [sum(weights[index] for index in indices) for indices in balance(weights, ranks)]
    assert max(loads) <= 1.15 * sum(loads) / ranks


def test_preferred_ranks_get_their_items_up_to_their_share() -> None:
    assert balance([5, 5, 5, 5], 2, [1, 0, 1, 0]) == [[1, 3], [0, 2]]
    assert balance([5, 5, 5, 5], 2, [1, 1, 1, None]) == [[2, 3], [0, 1]]
    assert balance([9, 1, 1], 3, [2, 2, 2]) == [[0], [], [1, 2]]
