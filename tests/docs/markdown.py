"""What the pages hold: README.md, CONTRIBUTING.md and docs/."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    """The path of a page, as the name of a test."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block between fences."""
    return _FENCE.findall(page.read_text())


def prose(page: Path) -> str:
    """The page without such blocks."""
    return _FENCE.sub("", page.read_text())


def codes(page: Path) -> list[str]:
    """What stands in backticks in the prose, in one line."""
    return [" ".join(code.split()) for code in re.findall(r"`((?:[^`\n]|\n(?!\n))+)`", prose(page))]


def lines(page: Path) -> Iterator[str]:
    """The command lines of the blocks that are typed: those that end in a backslash go on in the next."""
    for language, text in blocks(page):
        if language == "sh":
            yield from (line for line in text.replace("\\\n", " ").splitlines() if line.strip())


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}
