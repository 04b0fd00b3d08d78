"""Fixtures of the tests of the input."""

from pathlib import Path

import pytest

from tests.input.shards import write


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 training examples in 3 shards."""
    return write(tmp_path_factory.mktemp("small"), [5, 3, 6])
