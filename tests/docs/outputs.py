"""What the pages show, beside what is printed."""

import re
from pathlib import Path

from tests.docs.markdown import ROOT, blocks

_NUMBER = re.compile(r"\b(?:nan|inf|\d+(?:[.,]\d+)*(?:e[-+]?\d+)?)\b")
_ENVIRONMENT = re.compile(r"\.venvs/cpu-[0-9a-f]{12}")
_PROGRAMS = re.compile(r"\S+/bin/")
CHECKOUT = "/home/you/shardtune"


def check_shown(page: str, beginning: str, printed: str, checkout: Path = ROOT) -> None:
    """Fail where a line of a block is not printed, in the order of the block.

    Numbers and folders of programs may differ, words may not.

    Args:
        page: its path, relative to this repository.
        beginning: of the block. `…` in a block stands for any words, and alone for any lines.
        printed: it may have other lines in between.
        checkout: the folder that the page calls /home/you/shardtune.
    """
    (shown,) = (text for language, text in blocks(ROOT / page) if language == "text" and text.startswith(beginning))
    left = iter([_masked(line.rstrip()) for line in printed.replace(str(checkout), CHECKOUT).splitlines()])
    for line in shown.splitlines():
        pattern = ".*".join(re.escape(part) for part in _masked(line).split("…"))
        assert any(re.fullmatch(pattern, candidate) for candidate in left), (
            f"{page} shows, and nothing printed:\n{line}\n\n{printed}"
        )


def _masked(line: str) -> str:
    return _NUMBER.sub("0", _ENVIRONMENT.sub("ENVIRONMENT", _PROGRAMS.sub("bin/", line)))
