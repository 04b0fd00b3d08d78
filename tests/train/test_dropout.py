import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.train.dropout import RATE, dropout_mask


def rows(seed: int, step: int, first: int, count: int, units: int = 2048) -> npt.NDArray[np.float32]:
    return dropout_mask(seed, tf.constant(step, tf.int64), tf.constant(first, tf.int64), count, units).numpy()


@given(
    st.integers(0, 2**63 - 1), st.integers(0, 10**7), st.integers(0, 10**5), st.integers(2, 40), st.sampled_from([3, 8, 2048])
)
def test_a_batch_may_be_divided_anywhere(seed: int, step: int, first: int, count: int, units: int) -> None:
    whole = rows(seed, step, first, count, units)
    parts = [rows(seed, step, first, 1, units), rows(seed, step, first + 1, count - 1, units)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_a_fifth_is_dropped_and_the_mean_stays() -> None:
    values, counts = np.unique(rows(0, 0, 0, 512), return_counts=True)
    assert values == pytest.approx([0, 1 / (1 - RATE)])
    assert counts[0] / counts.sum() == pytest.approx(RATE, abs=0.002)


def test_steps_seeds_and_examples_have_masks_of_their_own() -> None:
    base = rows(1, 5, 0, 8)
    for other in (rows(2, 5, 0, 8), rows(1, 6, 0, 8), rows(1, 5, 8, 8), np.roll(base, 1, axis=0)):
        # Independent masks agree where both keep or both drop.
        assert np.mean(base == other) == pytest.approx(RATE**2 + (1 - RATE) ** 2, abs=0.02)
