import math
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.train.config import TrainConfig
from shardtune.train.schedule import LearningRateSchedule, learning_rate_scale, render

RATES = st.floats(1e-6, 10)
DECAYS = st.sampled_from(["constant", "exponential", "cosine", "step"])


def schedule(base: float, scale: float, steps: int, steps_per_epoch: float, **flags: Any) -> LearningRateSchedule:
    config = TrainConfig(Path("d"), Path("d"), initial_learning_rate=base, **flags)
    return LearningRateSchedule.from_config(config, scale, steps, steps_per_epoch)


def test_the_rate_at_the_corners() -> None:
    cosine = schedule(0.01, 8, 1000, 10)
    assert cosine.warmup_steps == 50  # 5 epochs
    assert cosine.rate(0) == 0.01
    assert cosine.rate(25) == pytest.approx((0.01 + 0.08) / 2)
    assert cosine.rate(50) == pytest.approx(0.08)
    assert cosine.rate(50 + 950 // 2) == pytest.approx(0.04)
    assert cosine.rate(1000) == pytest.approx(0)


def test_a_schedule_says_that_it_climbs_where_it_does() -> None:
    assert str(schedule(0.01, 8, 1000, 10)) == "learning rate 0.01 to 0.08 in 50 steps, then a cosine to 0"
    assert str(schedule(0.01, 1, 1000, 10)) == "learning rate 0.01 for 50 steps, then a cosine to 0"


@pytest.mark.parametrize(
    ("steps", "steps_per_epoch", "warmup"),
    [(1000, 1000, 100), (1000, 2, 10), (1000, 0.5, 2), (5, 100, 0), (1, 1, 0), (2000, 40, 200)],
)
def test_warm_up_is_five_epochs_but_at_most_a_tenth(steps: int, steps_per_epoch: float, warmup: int) -> None:
    assert schedule(0.1, 2, steps, steps_per_epoch).warmup_steps == warmup


@given(RATES, st.integers(1, 1024), st.integers(1, 100_000), st.floats(0.01, 10_000), DECAYS, st.data())
def test_the_rate_climbs_to_its_peak_and_never_rises_again(
    base: float, scale: int, steps: int, steps_per_epoch: float, decay: str, data: st.DataObject
) -> None:
    plan = schedule(base, scale, steps, steps_per_epoch, learning_rate_decay=decay)
    assert plan.peak == base * scale
    step = data.draw(st.integers(0, steps - 1))
    rate, following = plan.rate(step), plan.rate(step + 1)
    assert 0 <= rate <= plan.peak * (1 + 1e-9)
    if step + 1 < plan.warmup_steps:
        assert base * (1 - 1e-9) <= rate <= following * (1 + 1e-9)
    elif step >= plan.warmup_steps:
        assert following <= rate * (1 + 1e-9)


@given(RATES, st.integers(20, 100_000))
def test_a_cosine_ends_nearly_at_zero(base: float, steps: int) -> None:
    plan = schedule(base, 4, steps, 5)
    assert plan.rate(steps - 1) < 0.01 * plan.peak
    assert plan.rate(steps) == pytest.approx(0, abs=1e-12)


@given(RATES, st.integers(10, 10_000))
def test_one_worker_has_nothing_to_climb(base: float, steps: int) -> None:
    plan = schedule(base, 1, steps, steps)
    assert {plan.rate(step) for step in range(plan.warmup_steps + 1)} == {base}


def test_exponential_is_that_of_the_reference() -> None:
    # inception_train: exponential_decay(rate, step, 30 epochs of steps, 0.16, staircase=True)
    plan = schedule(0.1, 1, 1000, 10, learning_rate_decay="exponential", warmup_epochs=0)
    expected = {0: 0.1, 299: 0.1, 300: 0.016, 599: 0.016, 600: 0.1 * 0.16**2, 999: 0.1 * 0.16**3}
    assert {step: plan.rate(step) for step in expected} == pytest.approx(expected)


@given(RATES, st.integers(1, 5000), st.integers(1, 256), st.integers(1, 40), st.integers(0, 20_000))
def test_exponential_steps_when_the_reference_does(
    rate: float, examples: int, global_batch: int, epochs: int, step: int
) -> None:
    plan = schedule(
        rate, 1, 20_000, examples / global_batch,
        learning_rate_decay="exponential", warmup_epochs=0, num_epochs_per_decay=float(epochs),
    )  # fmt: skip
    decay_steps = int(examples / global_batch * epochs)  # inception_train.train, which divides by 0 where that is 0
    reference = tf.compat.v1.train.exponential_decay(rate, step, max(1, decay_steps), 0.16, staircase=True)()
    assert plan.rate(step) == pytest.approx(float(reference), rel=1e-4, abs=1e-37)


def test_steps_are_those_of_goyal() -> None:
    plan = schedule(0.1, 1, 900, 10, learning_rate_decay="step", warmup_epochs=0)
    expected = {0: 0.1, 299: 0.1, 300: 0.01, 599: 0.01, 600: 0.001, 799: 0.001, 800: 1e-4, 899: 1e-4}
    assert {step: plan.rate(step) for step in expected} == pytest.approx(expected)


def test_constant_stays() -> None:
    plan = schedule(0.1, 2, 100, 1, learning_rate_decay="constant")
    assert {plan.rate(step) for step in range(plan.warmup_steps, 101)} == {0.2}


@pytest.mark.parametrize(("scaling", "scale"), [("linear", 8.0), ("sqrt", math.sqrt(8)), ("none", 1.0)])
def test_the_scale_of_eight_workers(scaling: Any, scale: float) -> None:
    assert learning_rate_scale(scaling, 8) == pytest.approx(scale)


TABLE_AND_PLOT = """\
      step     epoch  learning rate
         0      0.00  0.1
         8      0.80  0.2
        10      1.00  0.2
        19      1.90  0.2
        29      2.90  0.2
        38      3.80  0.02
        48      4.80  0.02
        58      5.80  0.02
        67      6.70  0.002
        77      7.70  0.002
        86      8.60  0.0002
        96      9.60  0.0002

       0.2 │     ████████████████
           │    █████████████████
           │  ███████████████████
           │ ████████████████████
           │█████████████████████
           │█████████████████████
           │█████████████████████
           │███████████████████████████████████████████
         0 └────────────────────────────────────────────────────────────────
            step 0                                                        96"""


def test_a_schedule_is_rendered() -> None:
    assert render(schedule(0.1, 2, 97, 10, learning_rate_decay="step", warmup_epochs=0.8), 10) == TABLE_AND_PLOT


@pytest.mark.parametrize(
    ("decay", "description"),
    [("constant", "constant"), ("cosine", "a cosine to 0"), ("exponential", "exponential decay"), ("step", "step decay")],
)
def test_a_schedule_is_described(decay: str, description: str) -> None:
    plan = schedule(0.1, 2, 97, 10, learning_rate_decay=decay, warmup_epochs=0.8)
    assert str(plan) == f"learning rate 0.1 to 0.2 in 8 steps, then {description}"


@given(RATES, st.integers(1, 8), st.integers(1, 5000), st.floats(0.1, 1000), DECAYS)
def test_every_schedule_can_be_rendered(base: float, scale: int, steps: int, steps_per_epoch: float, decay: str) -> None:
    lines = render(schedule(base, scale, steps, steps_per_epoch, learning_rate_decay=decay), steps_per_epoch).splitlines()
    assert lines[1].split()[0] == "0"
    assert max(map(len, lines)) <= 80
