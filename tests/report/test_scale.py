import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shardtune.report.scale import Scale, format_bytes, format_number, format_seconds, format_ticks, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.5, 1]),
        (0.013, 0.94, [0, 0.5, 1]),
        (10, 240, [0, 100, 200, 300]),
        (2.31, 2.34, [2.31, 2.32, 2.33, 2.34]),
        (0, 0.002, [0, 0.0005, 0.001, 0.0015, 0.002]),
        (-3, 8, [-5, 0, 5, 10]),
        (7, 7, [2, 4, 6, 8, 10, 12]),
        (0, 0, [-1, -0.5, 0, 0.5, 1]),
        (0, 5e-324, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected, abs=1e-12)


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_ticks_hold_every_value(first: float, second: float) -> None:
    low, high = sorted((first, second))
    found = ticks(low, high)
    room = 1e-6 * (abs(low) + abs(high)) + 1e-300
    assert 2 <= len(found) <= 12
    assert found == sorted(set(found))
    assert found[0] <= low + room
    assert found[-1] >= high - room


def test_a_scale_ignores_what_is_not_finite() -> None:
    scale = Scale.over([math.nan, 3.0, math.inf, 1.0], 0, 100)
    assert (scale.low, scale.high, scale.ticks[0], scale.ticks[-1]) == (1.0, 3.0, 1.0, 3.0)
    assert [scale(1.0), scale(2.0), scale(3.0)] == [0, 50, 100]
    assert Scale.over([math.nan], 100, 0)(0.5) == 50


def test_a_scale_from_zero_ends_at_the_last_value() -> None:
    scale = Scale.from_zero(240, 0, 480)
    assert (scale.ticks, scale(240)) == ((0, 50, 100, 150, 200), 480)
    assert Scale.from_zero(1, 0, 10).ticks == (0, 0.2, 0.4, 0.6, 0.8, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((None, "–"), (math.nan, "–"), (math.inf, "–"), (0.0, "0"), (1437, "1,437"), (12345678.0, "12,345,678")),
        *((0.98765, "0.9877"), (8.43e-08, "8.43e-8"), (1e-4, "0.0001"), (-2.5, "-2.5"), (1.5e20, "1.5e20")),
        *((12345.67, "12,346"), (-1234.5678, "-1,235"), (999.97, "1,000"), (999.94, "999.9"), (2.5e15 + 0.5, "2.5e15")),
    ],
)
def test_numbers_for_people(value: float | None, expected: str) -> None:
    assert format_number(value) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (149.98, 150.02, ["149.98", "149.99", "150.00", "150.01", "150.02"]),
        (0.98765, 0.98769, ["0.98765", "0.98766", "0.98767", "0.98768", "0.98769"]),
        (0.0, 1.5, ["0.0", "0.5", "1.0", "1.5"]),
        (-3, 8, ["-5", "0", "5", "10"]),
        (0.0, 4000.0, ["0", "1,000", "2,000", "3,000", "4,000"]),
        (0.0, 1.4e-8, ["0", "5e-9", "1.0e-8", "1.5e-8"]),
        (-1.5e20, 0, ["-1.5e20", "-1.0e20", "-5e19", "0"]),
    ],
)
def test_ticks_have_the_decimals_of_their_distance(low: float, high: float, expected: list[str]) -> None:
    assert format_ticks(ticks(low, high)) == expected


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
@example(1e-299, 1e-299)
@example(1.0, 1.0 + 2e-9)
@example(1e12 - 2000, 1e12)
def test_ticks_are_told_from_each_other(first: float, second: float) -> None:
    found = ticks(*sorted((first, second)))
    assert [float(text.replace(",", "")) for text in format_ticks(found)] == pytest.approx(found, rel=1e-9, abs=1e-300)
    assert len({*format_ticks(found)}) == len(found)


def test_sizes_and_times() -> None:
    assert [format_bytes(size) for size in (0, 999, 1234, 5_600_000, 7 * 10**15)] == [
        "0 bytes",
        "999 bytes",
        "1.23 kB",
        "5.6 MB",
        "7,000 TB",
    ]
    assert [format_seconds(seconds) for seconds in (0.42, 12, 61, 7260)] == ["0.4 s", "12 s", "1 min 1 s", "2 h 1 min"]
