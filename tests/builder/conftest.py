"""Fixtures of the tests of the builder."""

from pathlib import Path

import pytest

from tests.builder.builds import PER_CLASS
from tests.pictures import plant


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return plant(tmp_path / "images", per_class=PER_CLASS)
