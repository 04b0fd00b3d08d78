import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.evaluate.counts import TopKCounts, count_hits, top_classes

COUNTS = st.builds(TopKCounts, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.lists(COUNTS, min_size=1, max_size=8))
def test_adding_is_adding_each_count(parts: list[TopKCounts]) -> None:
    total = sum(parts, TopKCounts())
    for name in ("examples", "top_1", "top_5"):
        assert getattr(total, name) == sum(getattr(part, name) for part in parts)


def test_division_comes_after_adding() -> None:
    # The mean of the parts' precisions would be 0.55.
    total = TopKCounts(10, 1, 2) + TopKCounts(1, 1, 1)
    assert total.precision_at_1 == pytest.approx(2 / 11)
    assert total.recall_at_5 == pytest.approx(3 / 11)
    assert str(total) == "precision @ 1 = 0.1818 recall @ 5 = 0.2727 [11 examples]"


def test_of_equal_logits_the_lower_class_comes_first() -> None:
    logits = np.array([[1, 3, 3, 0, 3, 3, 3], [0, 0, 0, 0, 0, 0, 0], [-0.0, 0.0, -1, -2, -3, -4, 5]], np.float32)
    top = top_classes(logits)
    assert top.tolist() == [[1, 2, 4, 5, 6], [0, 1, 2, 3, 4], [6, 0, 1, 2, 3]]
    assert count_hits(top, np.array([2, 0, 1])) == TopKCounts(3, 1, 3)
    assert count_hits(top, np.array([0, 5, 5])) == TopKCounts(3, 0, 0)


def test_fewer_than_five_classes_are_all_in_order() -> None:
    assert top_classes(np.array([[0, 2, 1]], np.float32)).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_has_no_first_class(value: float) -> None:
    top = top_classes(np.array([[0, value, 1], [0, 2, 1]], np.float32))
    assert top.tolist() == [[-1, -1, -1], [1, 2, 0]]
    assert count_hits(top, np.array([2, 1])) == TopKCounts(2, 1, 1)
