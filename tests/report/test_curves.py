import math
from xml.etree import ElementTree

import pytest

from shardtune.report.curves import MAX_POINTS, Line, line_chart, thin
from shardtune.report.figures import bar, calibration, interval, time_bar

NAN = math.nan


def line(*values: float, name: str = "run") -> Line:
    return Line(name, 0, tuple((10 * number, value) for number, value in enumerate(values, start=1)))


def parse(svg: str | None) -> ElementTree.Element:
    assert svg is not None
    return ElementTree.fromstring(svg)


def count(svg: ElementTree.Element, tag: str) -> int:
    """Elements of that kind which belong to a line: those of the grid have another class."""
    return sum("grid" not in each.get("class", "") for each in svg.iter(tag))


@pytest.mark.parametrize(
    ("values", "lines", "marks"),
    [
        ((1.0, 2.0, 3.0), 1, 3),
        ((1.0, NAN, 3.0, 2.0), 2, 3),
        ((NAN, 1.0, math.inf), 1, 1),
        ((5.0,), 1, 1),
        ((0.0, 0.0), 1, 2),
        ((1.0,) * 50, 1, 0),
        ((*(1.0,) * 50, NAN, 2.0), 2, 1),  # the last point would be invisible without a mark
    ],
)
def test_a_curve_breaks_where_there_is_no_number(values: tuple[float, ...], lines: int, marks: int) -> None:
    svg = parse(line_chart("Loss", [line(*values)]))
    assert (count(svg, "polyline"), count(svg, "circle")) == (lines, marks)
    assert "nan" not in ElementTree.tostring(svg, encoding="unicode")
    assert "inf" not in ElementTree.tostring(svg, encoding="unicode")


@pytest.mark.parametrize("lines", [[], [line()], [line(NAN, NAN)]])
def test_no_curve_without_a_number(lines: list[Line]) -> None:
    assert line_chart("Loss", lines) is None


def test_points_lie_within_the_drawing_and_higher_values_are_above() -> None:
    svg = parse(line_chart("Loss", [line(5.0, 1.0, 3.0), Line("other", 9, ((25, -2.0),))]))
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    points = [tuple(map(float, point.split(","))) for path in svg.iter("polyline") for point in path.get("points", "").split()]
    assert len(points) == 4
    assert all(0 < x < width and 0 < y < height for x, y in points)
    assert points[0][1] < points[2][1] < points[1][1] < points[3][1]
    assert points[0][0] < points[1][0] < points[3][0] < points[2][0]


def test_the_axis_of_shares_ends_at_1() -> None:
    def numbers(is_share: bool) -> list[str | None]:
        svg = parse(line_chart("Recall", [line(1.0, 1.0)], is_share=is_share))
        return [text.text for text in svg.iter("text") if text.get("class") == "end"]

    assert numbers(True)[-2] == "1.00"
    assert numbers(False)[-2] == "1.5"


def test_a_chart_says_what_it_shows() -> None:
    label = parse(line_chart("Loss", [line(5.0, 1.0, 3.0, name="<b>"), line(2.0, name="two")])).get("aria-label")
    assert label == "Loss by step. <b>: 5 at step 10, 3 at step 30; between 1 and 5. two: 2 at step 10."


def test_lines_take_what_metrics_have() -> None:
    metrics = [
        {"step": 1, "loss": 2},
        {"step": 2},
        {"step": 3, "loss": None},
        {"step": 4, "loss": "x"},
        {"step": 5, "loss": 1.5},
    ]
    assert Line.of("run", 0, metrics, "loss").points == ((1, 2.0), (5, 1.5))


def test_long_lines_are_thinned_but_keep_their_peaks() -> None:
    points = tuple((step, math.sin(step / 500) + (50.0 if step == 7777 else 0)) for step in range(100_000))
    found = thin(points)
    assert len(found) <= MAX_POINTS
    assert {points[0], points[-1], points[7777]} <= {*found}
    assert list(found) == sorted(found)
    assert thin(found) == found


@pytest.mark.parametrize("gap", [NAN, math.inf])
def test_a_long_line_keeps_its_gaps_and_what_is_beside_them(gap: float) -> None:
    values = [1.0 + step % 7 for step in range(3000)]
    values[1000] = gap  # alone
    values[2000:2020] = [gap] * 20  # at the beginning of a part, and longer than that
    values[2040:2100] = [gap, 5.0, 6.0] * 20
    found = thin(tuple(enumerate(values)))
    assert len(found) <= MAX_POINTS
    assert (1000, gap) in found
    finite = [step for step, value in found if math.isfinite(value)]
    assert [step for step in finite if 1990 <= step < 2000]
    assert not [step for step in finite if 2000 <= step < 2020]
    assert [step for step in finite if 2020 <= step < 2040]
    assert {values[step] for step in finite if 2040 <= step < 2100} == {5.0, 6.0}
    assert len([step for step, value in found if 2040 <= step < 2100 and not math.isfinite(value)]) >= 3


def test_figures_with_nothing_in_them() -> None:
    none = {"examples": 0, "confidence": None, "precision": None, "low": 0.0, "high": 1.0}
    for svg in (bar(None, "F1"), calibration([none]), calibration([]), interval(0.0, 0.0, 1.0, "x"), time_bar({"a": 1.0}, "x")):
        assert parse(svg).get("aria-label")


def test_names_are_escaped() -> None:
    name = '"><script>'
    for svg in (
        bar(0.5, name),
        interval(0.5, 0.4, 0.6, name),
        time_bar({name: 1.0}, name),
        line_chart(name, [line(1, name=name)]),
    ):
        assert "<script>" not in (svg or "")
        assert name in (parse(svg).get("aria-label") or "")
