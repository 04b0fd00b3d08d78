"""Figures other than curves as inline SVG: intervals, bars, where the time goes, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from shardtune.report.scale import Scale, format_number

BAR_WIDTH, BAR_HEIGHT = 120, 10
SIDE = 260  # of the calibration diagram, without its margins
LEFT, TOP, BOTTOM = 40, 8, 40


def bar(share: float | None, name: str) -> Markup:
    """A share of 0 to 1 as a bar; an empty one where there is none."""
    text = f"{name}: {'none' if share is None else format(share, '.1%')}"
    return Markup(
        '<svg class="bar" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
        '<rect class="track" width="{0}" height="{1}" rx="2"/><rect class="fill" width="{3:.1f}" height="{1}" rx="2"/></svg>'
    ).format(BAR_WIDTH, BAR_HEIGHT, text, BAR_WIDTH * (share or 0.0))


def interval(share: float, low: float, high: float, name: str) -> Markup:
    """A share of 0 to 1 with its interval, on a line from 0 to 1."""
    text = f"{name}: {share:.4f}, 95 % interval {low:.4f} to {high:.4f}, on a line from 0 to 1"
    at = Scale(0.0, 1.0, 5, BAR_WIDTH - 5)
    return Markup(
        '<svg class="interval" viewBox="0 0 {0} 16" width="{0}" height="16" role="img" aria-label="{1}">'
        '<line class="grid" x1="5" x2="{2}" y1="8" y2="8"/><line class="whisker" x1="{3}" x2="{4}" y1="8" y2="8"/>'
        '<circle class="dot" cx="{5}" cy="8" r="3"/></svg>'
    ).format(BAR_WIDTH, text, BAR_WIDTH - 5, at(low), at(high), at(share))


def time_bar(shares: Mapping[str, float], name: str) -> Markup:
    """The parts of a whole as one bar.

    Args:
        shares: of 0 to 1 each, 1 together, in the order of their colours.
    """
    text = f"{name}: " + ", ".join(f"{part} {share:.1%}" for part, share in shares.items())
    parts, start = [], 0.0
    for number, share in enumerate(shares.values()):
        parts.append(Markup('<rect class="part{}" x="{:.1f}" width="{:.1f}" height="24"/>').format(number, start, 420 * share))
        start += 420 * share
    return Markup(
        '<svg class="times" viewBox="0 0 420 24" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(text, Markup("").join(parts))


def calibration(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """The share of right answers over the probability of the answer, by bins of that; below, the examples of each bin."""
    x, y = Scale(0.0, 1.0, LEFT, LEFT + SIDE), Scale(0.0, 1.0, TOP + SIDE, TOP)
    most = max((each["examples"] for each in bins), default=0) or 1
    used = [each for each in bins if each["examples"]]
    words = [
        f"{each['examples']} answers of probability {each['confidence']:.2f} on average, {each['precision']:.0%} of them right"
        for each in used
    ]
    bars = [
        Markup(
            '<rect class="fill" x="{x}" y="{y}" width="{width:.1f}" height="{height:.1f}"><title>{text}</title></rect>'
            '<line class="whisker" x1="{x}" x2="{end}" y1="{target}" y2="{target}"/>'
            '<rect class="track" x="{x}" y="{base}" width="{width:.1f}" height="{count:.1f}"/>'
        ).format(
            x=x(each["low"]) + 1,
            end=x(each["high"]) - 1,
            width=x(each["high"]) - x(each["low"]) - 2,
            y=y(each["precision"]),
            height=y(0) - y(each["precision"]),
            target=y(each["confidence"]),
            base=TOP + SIDE + BOTTOM,
            count=max(1.0, 40 * each["examples"] / most),
            text=text,
        )
        for each, text in zip(used, words, strict=True)
    ]
    axes = [
        Markup(
            '<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/><text class="end" x="{3}" y="{4}">{5}</text>'
            '<text class="middle" x="{6}" y="{7}">{5}</text>'
        ).format(LEFT, LEFT + SIDE, y(tick), LEFT - 6, y(tick) + 4, format_number(tick), x(tick), TOP + SIDE + 16)
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    diagonal = Markup('<line class="diagonal" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(x(0), x(1), y(0), y(1))
    below = Markup('<text class="middle" x="{}" y="{}">probability of the answer</text>').format(x(0.5), TOP + SIDE + 32)
    return Markup('<svg class="chart square" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        LEFT + SIDE + 16,
        TOP + SIDE + BOTTOM + 44,
        f"Calibration. {'; '.join(words)}.",
        Markup("").join([*axes, *bars, diagonal, below]),
    )
