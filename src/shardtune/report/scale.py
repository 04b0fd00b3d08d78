"""From values to places in a figure: ticks at round numbers, scales, and numbers as text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def format_number(value: float | None) -> str:
    """A number for people: 4 digits, or all before the point where these are more; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 1e15 and (value == int(value) or abs(value) >= 999.95):
        return f"{value:,.0f}"
    return _short_exponent(f"{value:.4g}")


def format_ticks(values: Sequence[float]) -> list[str]:
    """Numbers at equal distances with the decimals that tell one from the next."""
    place = math.floor(math.log10(values[1] - values[0]) + 1e-6)  # of the last digit that is needed; 1e-6: rounding errors
    if 1e-4 <= max(map(abs, values)) < 1e6:
        return [f"{value:,.{max(0, -place)}f}" for value in values]
    digits = [math.floor(math.log10(abs(value)) + 1e-6) - place if value else 0 for value in values]
    return [_short_exponent(f"{value:.{n}e}") if value else "0" for value, n in zip(values, digits, strict=True)]


def _short_exponent(text: str) -> str:
    """1.5e-08 as 1.5e-8."""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def format_bytes(size: int) -> str:
    """A number of bytes in the largest unit of which there is one."""
    value, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, _ = value / 1000, units.pop(0)
    return f"{value:.3g} {units[0]}" if value < 999.5 else f"{value:,.0f} {units[0]}"


def format_seconds(seconds: float) -> str:
    """A time in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{format_number(round(seconds, 1))} s"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers, 1, 2 or 5 times a power of ten apart, from `low` or below to `high` or above.

    Both are finite. Where they are equal, or nearly so, there is room around them.
    """
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-300):
        margin = abs(low) / 2 if abs(low) > 1e-300 else 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...] = ()

    @staticmethod
    def over(values: Iterable[float], start: float, end: float) -> "Scale":
        """From tick to tick, so that all finite ones of `values` are between; from 0 to 1 where there are none."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        found = ticks(min(finite), max(finite))
        return Scale(found[0], found[-1], start, end, tuple(found))

    @staticmethod
    def from_zero(last: float, start: float, end: float) -> "Scale":
        """From 0 to just `last`, above 0, with ticks between."""
        return Scale(0.0, last, start, end, tuple(tick for tick in ticks(0.0, last, 7) if tick <= last))

    def __call__(self, value: float) -> float:
        """The pixel of a value, rounded to a tenth: more would only make the page larger."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)
