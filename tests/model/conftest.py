from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shardtune.model import inception
from shardtune.model.batchnorm import BatchNormOptions
from shardtune.model.inception import named_variables
from tests.model.checkpoints import V1, V2, Arrays, in_release_layout, save


@pytest.fixture(scope="session")
def small_model() -> Any:
    """Inception v3 for 75 pixels and 4 classes. Tests may change its weights, so no test may depend on their values."""
    return inception.build(4, 75, seed=1, batch_norm=BatchNormOptions())


@pytest.fixture(scope="session")
def values(small_model: Any) -> Arrays:
    generator = np.random.default_rng(9)
    return {name: generator.random(variable.shape, np.float32) for name, variable in named_variables(small_model).items()}


@pytest.fixture(scope="session")
def released(values: Arrays, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The 2016 layout in both formats, each in a folder as the release's."""
    folders = {version: tmp_path_factory.mktemp(f"v{version}") for version in (V1, V2)}
    return {version: save(folder / "model.ckpt-7", in_release_layout(values), version) for version, folder in folders.items()}


@pytest.fixture(scope="session")
def of_keras() -> Any:
    """InceptionV3 with 3 classes, and batch normalisation that does not start as the identity."""
    model = keras.applications.InceptionV3(weights=None, classes=3, input_shape=(75, 75, 3), classifier_activation=None)
    generator = np.random.default_rng(2)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(generator.random(variable.shape) + 0.5)
    return model
