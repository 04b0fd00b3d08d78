from typing import Any

import pytest

from shardtune.model import inception
from shardtune.model.batchnorm import BatchNormOptions


@pytest.fixture(scope="session")
def small_model() -> Any:
    """Inception v3 for 75 pixels and 4 classes. Tests may change its weights, so no test may depend on their values."""
    return inception.build(4, 75, seed=1, batch_norm=BatchNormOptions())
