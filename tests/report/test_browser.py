"""The page in a browser: Debian's Chromium, driven by Playwright."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import Reported
from tests.report.runs import BACKWARDS_CLASS, IMAGE_FILE, SCRIPT_CLASS

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, as .ci/run installs it")
playwright_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, as launch/setup.sh installs it")

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@dataclass
class Opened:
    """A page in the browser, and what went wrong while it was open."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(params=["desktop-light", "phone-dark"])
def opened(request: pytest.FixtureRequest, browser: Any, reported: Reported) -> Iterator[Opened]:
    size, scheme = request.param.split("-")
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    found = Opened(page)
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("dialog", lambda dialog: (found.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda made: found.requests.append(made.url))
    page.goto(reported.page.as_uri())
    yield found
    page.close()


def visible(page: Any) -> list[str]:
    """The cells of the photographs that are shown."""
    return page.eval_on_selector_all("[data-gallery] > li:not([hidden])", "all => all.map(each => each.dataset.cell)")  # type: ignore[no-any-return]


def test_it_loads_without_a_complaint_or_a_request(opened: Opened, reported: Reported) -> None:
    opened.page.wait_for_load_state("networkidle")
    assert opened.complaints == []
    outside = [url for url in opened.requests if not url.startswith("data:")]
    assert outside == [reported.page.as_uri()]


def test_every_figure_has_a_size_and_fits(opened: Opened) -> None:
    page = opened.page
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true })")
    page.eval_on_selector_all("[data-gallery] > li", "all => all.forEach(each => { each.hidden = false })")
    sizes = page.eval_on_selector_all(
        "svg, img", "all => all.map(each => { const box = each.getBoundingClientRect(); return [box.width, box.height] })"
    )
    assert len(sizes) > 30
    assert all(width >= 5 and height >= 5 for width, height in sizes)
    assert page.eval_on_selector_all("img", "all => all.every(each => each.complete && each.naturalWidth > 0)")
    overfull = "all => all.filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.outerHTML)"
    assert page.eval_on_selector_all("td", overfull) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")  # only tables scroll sideways


@pytest.mark.parametrize("key", [None, "Enter"])
def test_a_cell_filters_the_gallery(opened: Opened, key: str | None) -> None:
    page, first = opened.page, visible(opened.page)
    cell = page.locator(".matrix button.right").first
    name = cell.get_attribute("data-cell")
    if key:
        cell.focus()
        page.keyboard.press(key)
    else:
        cell.click()
    assert {*visible(page)} == {name} != {*first}
    assert cell.get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.activeElement.textContent") == f"{SCRIPT_CLASS} recognised"
    status = page.locator("[data-gallery-status]").inner_text()
    assert re.fullmatch(rf"{len(visible(page))} of \d+ are on this page\.", status)
    page.get_by_role("button", name="Back to the matrix").press("Enter")
    assert visible(page) == first
    assert page.evaluate("document.activeElement.dataset.cell") == name
    assert opened.complaints == []


def test_the_keyboard_reaches_what_the_mouse_does(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        if cell := page.evaluate("document.activeElement.dataset.cell"):
            reached.add(cell)
    assert reached == {*page.eval_on_selector_all(".matrix button", "all => all.map(each => each.dataset.cell)")}


def test_names_that_are_html_are_shown_as_text(opened: Opened) -> None:
    page = opened.page
    assert SCRIPT_CLASS in page.locator(".matrix").inner_text()
    page.eval_on_selector_all("[data-gallery] > li", "all => all.forEach(each => { each.hidden = false })")
    assert f"blue/{IMAGE_FILE}" in page.locator("[data-gallery]").inner_text()
    assert page.locator("script").count() == 1
    assert opened.complaints == []


TURNED_AROUND = """() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const place = (node, at) => {
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getClientRects()[0];
  };
  while (walker.nextNode()) {
    const node = walker.currentNode, text = node.data;
    if (text.trim().length < 2 || node.parentElement.closest(".matrix thead, script, title")) continue;
    if (text.includes("\u202e")) { // a name, after which nothing else may come
      if (!["", "desrever", ".jpg"].includes(text.trimEnd().split("\u202e").pop())) found.push(text.trim());
      continue;
    }
    const [first, last] = [place(node, text.search(/\\S/)), place(node, text.trimEnd().length - 1)];
    if (first && last && first.top === last.top && first.left >= last.left) found.push(text.trim());
  }
  return found;
}"""


def test_names_from_right_to_left_turn_nothing_else_around(opened: Opened) -> None:
    page = opened.page
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true })")
    page.eval_on_selector_all("[data-gallery] > li", "all => all.forEach(each => { each.hidden = false })")
    assert page.evaluate(TURNED_AROUND) == []
    page.locator(f'.pair[data-label="{BACKWARDS_CLASS}"]').first.click()
    assert BACKWARDS_CLASS in page.locator("[data-gallery-title]").inner_text()
    assert page.evaluate(TURNED_AROUND) == []


def test_axe_finds_no_serious_fault(opened: Opened) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core comes with axe-playwright-python")
    page = opened.page
    page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true })")
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    faults = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert len(found["passes"]) > 20
    assert faults == [], json.dumps(
        [[each["id"], each["help"], [node["html"] for node in each["nodes"]][:5]] for each in faults], indent=1
    )
