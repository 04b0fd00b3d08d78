import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.train.schedule import Schedule

RATES = st.floats(1e-6, 10)


def test_the_rate_at_the_corners() -> None:
    schedule = Schedule.of(0.01, 8, 1000, 10)
    assert schedule.warmup == 50  # 5 epochs
    assert schedule.rate(0) == 0.01
    assert schedule.rate(25) == pytest.approx((0.01 + 0.08) / 2)
    assert schedule.rate(50) == pytest.approx(0.08)
    assert schedule.rate(50 + 950 // 2) == pytest.approx(0.04)
    assert schedule.rate(1000) == pytest.approx(0)


@pytest.mark.parametrize(
    ("steps", "steps_per_epoch", "warmup"),
    [(1000, 1000, 100), (1000, 2, 10), (1000, 0.5, 2), (5, 100, 0), (1, 1, 0), (2000, 40, 200)],
)
def test_warm_up_is_five_epochs_but_at_most_a_tenth(steps: int, steps_per_epoch: float, warmup: int) -> None:
    assert Schedule.of(0.1, 2, steps, steps_per_epoch).warmup == warmup


@given(RATES, st.integers(1, 1024), st.integers(1, 100_000), st.floats(0.01, 10_000), st.data())
def test_the_rate_stays_between_zero_and_its_peak(
    base: float, workers: int, steps: int, steps_per_epoch: float, data: st.DataObject
) -> None:
    schedule = Schedule.of(base, workers, steps, steps_per_epoch)
    assert schedule.peak == base * workers
    assert schedule.rate(schedule.warmup) == pytest.approx(schedule.peak)
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < schedule.rate(step) <= schedule.peak * (1 + 1e-9)
    following = schedule.rate(step + 1)
    if step < schedule.warmup:
        assert base * (1 - 1e-9) <= schedule.rate(step) <= following * (1 + 1e-9)
    else:
        assert following < schedule.rate(step) or following == pytest.approx(schedule.rate(step))


@given(RATES, st.integers(20, 100_000))
def test_the_last_step_is_nearly_at_zero(base: float, steps: int) -> None:
    schedule = Schedule.of(base, 4, steps, 5)
    assert schedule.rate(steps - 1) < 0.01 * schedule.peak
    assert schedule.rate(steps) == pytest.approx(0, abs=1e-12)


@given(RATES, st.integers(10, 10_000))
def test_one_worker_has_nothing_to_climb(base: float, steps: int) -> None:
    schedule = Schedule.of(base, 1, steps, steps)
    assert {schedule.rate(step) for step in range(schedule.warmup + 1)} == {base}
