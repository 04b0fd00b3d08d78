"""What the pages point to is there."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, codes, name, prose

EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name)
FOLDERS = ("docs", "launch", "slurm", "src", "tests")
FILE = re.compile(rf"[\w./-]+\.(?:py|sh|sbatch|toml|txt|in)|(?:{'|'.join(FOLDERS)})/[\w./-]*")
# A name that the style forbids, files of data sets, scripts of research/inception.
OF_OTHERS = re.compile(r"utils\.py|labels\.txt|imagenet_\w+\.txt|\w+_data\.py|process_bounding_boxes\.py|preprocess_\w+\.py")


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page)) + re.findall(r' src="([^"]+)"', prose(page))
    broken = []
    for target in targets:
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not target.startswith(("http://", "https://")) and not (file.exists() and (not anchor or anchor in anchors(file))):
            broken.append(target)
    assert broken == []


@EVERY_PAGE
def test_files_that_are_named_exist(page: Path) -> None:
    files = [*ROOT.iterdir(), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*"))]
    ends = {"/".join(parts[i:]) for parts in (file.relative_to(ROOT).parts for file in files) for i in range(len(parts))}
    named = [code for code in codes(page) if FILE.fullmatch(code) and not OF_OTHERS.fullmatch(code)]
    assert [code for code in named if code.rstrip("/") not in ends] == []


def test_the_tests_of_the_invariants_are_where_the_table_says() -> None:
    rows = re.findall(r"^\| \d+ \| .* \| (.*) \|$", (ROOT / "docs/how-it-stays-exact.md").read_text(), re.MULTILINE)
    missing = []
    for row in rows:
        folder = ""
        for file in re.findall(r"`([^`]+)`", row):  # a name without a folder is in the folder of the name before it
            folder, _, base = file.rpartition("/") if "/" in file else (folder, "", file)
            if not (ROOT / "tests" / folder / base).is_file():
                missing.append(file)
    assert len(rows) > 10
    assert missing == []
