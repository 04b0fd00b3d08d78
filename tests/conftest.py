"""Fixtures that every test may use, those in tests/distributed too."""

import os
import signal
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # both are read when TensorFlow is first imported
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.runtime.world import World
from tests.faults.injector import Injector
from tests.faults.mounts import hostile_directory as hostile_directory
from tests.pictures import plant

# deadline: the first example pays for imports and tracing. function_scoped_fixture: tests reuse tmp_path on purpose.
settings.register_profile("unit", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("unit")
# Where a shell runs the tests in the background, Ctrl-C is ignored by them and by all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For --dist loadfile."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.scheduling import FileScheduling

    return FileScheduling(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The reference data beside the repository, or a skipped test."""
    directory = Path(__file__).parents[2] / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(f"needs the reference data in {directory}")
    return directory


@pytest.fixture(scope="session")
def injector(tmp_path_factory: pytest.TempPathFactory) -> Injector:
    return Injector.compile(tmp_path_factory.mktemp("injector"))


@pytest.fixture(scope="session")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ (60 JPEGs in 3 classes) and validation/ (21)."""
    directory = tmp_path_factory.mktemp("images")
    plant(directory / "train", per_class=20, seed=1)
    plant(directory / "validation", per_class=7, seed=2)
    return directory


@pytest.fixture(scope="session")
def small_data(small_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory built from `small_images`: 60 training examples in 4 shards, 21 validation examples in 2."""
    directory = tmp_path_factory.mktemp("data")
    config = BuildConfig(
        train_directory=small_images / "train",
        validation_directory=small_images / "validation",
        output_directory=directory,
        train_shards=4,
        validation_shards=2,
    )
    build(config, World())
    return directory
