import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.input.order import epoch_order, global_batch

EXAMPLES, SEEDS = st.integers(1, 200), st.integers(0, 2**63 - 1)


@given(EXAMPLES, SEEDS, st.integers(0, 10**6))
def test_an_epoch_is_a_permutation(examples: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(examples, seed, epoch)) == list(range(examples))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [epoch_order(100, seed, epoch).tolist() for seed in range(4) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 16
    assert list(range(100)) not in orders


@given(EXAMPLES, SEEDS, st.integers(1, 300))
def test_batches_laid_end_to_end_are_the_epochs_laid_end_to_end(examples: int, seed: int, size: int) -> None:
    steps = -(-3 * examples // size)  # enough for three epochs
    batches = [global_batch(examples, seed, step, size) for step in range(steps)]
    indices = np.concatenate([batch for batch, _ in batches])
    epochs = np.concatenate([epoch for _, epoch in batches])
    for epoch in range(3):
        here = slice(epoch * examples, (epoch + 1) * examples)
        assert indices[here].tolist() == epoch_order(examples, seed, epoch).tolist()
        assert set(epochs[here].tolist()) == {epoch}


@given(EXAMPLES, SEEDS, st.integers(0, 10**9), st.integers(1, 16), st.integers(1, 6))
def test_a_global_batch_is_one_however_many_steps_it_is_cut_into(
    examples: int, seed: int, step: int, size: int, parts: int
) -> None:
    whole = global_batch(examples, seed, step, size * parts)
    cut = [global_batch(examples, seed, step * parts + part, size) for part in range(parts)]
    assert whole[0].tolist() == [index for batch, _ in cut for index in batch]
    assert whole[1].tolist() == [epoch for _, epochs in cut for epoch in epochs]


def test_the_order_is_that_of_earlier_releases() -> None:
    # A change here would make every run that resumes see other examples than it began with.
    assert epoch_order(8, 7, 0).tolist() == [0, 6, 7, 2, 4, 5, 1, 3]
    assert epoch_order(8, 7, 1).tolist() == [6, 3, 1, 0, 2, 4, 7, 5]


def test_nobody_can_change_an_order_that_others_read() -> None:
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(5, 0, 0)[0] = 1
