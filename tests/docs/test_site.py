"""The pages as a site, and as text."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import shardtune
from docs import write_licenses
from docs.write_commands import FOLDER, help_texts, pages
from docs.write_reference import PAGE, page
from shardtune.cli import COMMANDS, POSITIONAL
from shardtune.flags.parser import parse_flags
from tests.docs.markdown import PAGES, ROOT


def program(name: str) -> str:
    """The path of a program of the extras docs and test, or a skipped test."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}, which the extras docs and test install (docs: from Python 3.11 on)")
    return path


def test_it_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    zensical = program("zensical")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("zensical.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [zensical, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "build" / "site"
    sources = [
        source
        for page in site.rglob("*.html")
        for source in re.findall(r'(?:src|<link[^>]* href)="?([^"> ]+)', page.read_text())
    ]
    assert len(sources) > 100
    assert [source for source in sources if "//" in source] == []
    assert "How it stays exact" in (site / "search.json").read_text()
    assert "Commands" in (site / "changelog.html").read_text()  # a heading of CHANGELOG.md, which the page includes


def test_every_page_has_a_place_in_the_navigation() -> None:
    placed = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text())
    assert sorted(placed) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES if ROOT / "docs" in page.parents)


def test_the_pages_of_the_commands_are_those_of_the_code() -> None:
    written = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert written == pages(), "Run python -m docs.write_commands."


def test_the_python_reference_is_that_of_the_code() -> None:
    assert PAGE.read_text() == page(), "Run python -m docs.write_reference."
    listed = re.findall(r"^(?:### |- )`(\w+)`", PAGE.read_text(), re.MULTILINE)
    assert set(shardtune.__all__) <= set(listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_they_say_what_help_says(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_flags(command, COMMANDS[command], ["--help"], is_positional=command in POSITIONAL)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert [text for text in help_texts(COMMANDS[command]).values() if text not in shown] == []


def test_spelling() -> None:
    places = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "src", "tests", "launch", "slurm")
    done = subprocess.run([program("codespell"), *places], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_list_of_licences_has_every_package_of_the_lock_files() -> None:
    assert sorted(write_licenses.rows()) == sorted(write_licenses.locked("cpu", "gpu", "horovod", "openmpi"))
