"""What GitHub reads: forms for issues, and how to cite."""

from pathlib import Path

import pytest
import yaml

from tests.docs.markdown import ROOT

FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_github_asks_for(form: Path) -> None:
    about = yaml.safe_load(form.read_text())
    assert {*about} == {"name", "description", "labels", "body"}
    fields = [part for part in about["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in fields} == {"textarea"}
    assert len({part["id"] for part in fields}) == len(fields) > 0
    assert all(part["attributes"]["label"] for part in fields)


def test_the_citation_is_of_this_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors"))
    assert f'name = "{citation["title"]}"' in project
    assert f'license = "{citation["license"]}"' in project
