"""What a browser makes of pages, for tests without one."""

import re
from html.parser import HTMLParser
from pathlib import Path

from shardtune.report.command import report
from shardtune.report.config import ReportConfig
from shardtune.runtime.world import World


class Page(HTMLParser):
    """What a browser makes of a page.

    Attributes:
        text: what it shows.
        tags: the elements, each as its name and its attributes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.tags = "", list[tuple[str, dict[str, str | None]]]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def labels(self) -> list[str]:
        """What figures say to those who do not see them."""
        return [str(svg.get("aria-label")) for svg in self.all("svg")]


def make(output: Path, *runs: Path, **flags: object) -> Page:
    report(ReportConfig(runs, output, **flags), World())  # type: ignore[arg-type]
    return Page(output)


def headline(page: Path) -> list[list[str]]:
    """The cells of the table of several runs, its header first."""
    table = page.read_text().partition('<table class="figures">')[2].partition("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("<tr>")[1:]]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in rows]
