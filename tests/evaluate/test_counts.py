import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.evaluate.counts import TopKCounts

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
