from collections.abc import Iterator

import pytest

from shardtune.images.stored import pillow_warnings_ignored


@pytest.fixture(autouse=True)
def _ignored() -> Iterator[None]:
    """As the commands have it."""
    with pillow_warnings_ignored():
        yield
