from typing import Any

import pytest

from shardtune.model import inception


@pytest.fixture(scope="session")
def small_model() -> Any:
    """Inception v3 for 75 pixels and 4 classes. Tests may change its weights; none may count on their values."""
    return inception.build(4, 75, seed=1, batch_norm_decay=0.8)
