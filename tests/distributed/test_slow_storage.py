"""Builds from images on storage where each call takes long."""

from pathlib import Path

import numpy as np
import pytest

from tests.faults.mounts import Mounter, Options, most_in_flight
from tests.faults.reference import Reference
from tests.launching import run
from tests.pictures import encoded, picture, plant
from tests.records import contents

SLOW = Options(delay=0.01)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """150 images, and some that are none, in 5 + 2 shards; names of which say nothing of their kind."""
    directory = tmp_path_factory.mktemp("mixed")
    images = plant(directory / "images", per_class=50)
    (images / "blue" / "empty.jpg").write_bytes(b"")
    (images / "green" / "page.jpg").write_bytes(b"<html>")
    (images / "red" / "cut.jpg").write_bytes(encoded(picture(np.random.default_rng(9)))[:300])
    (images / "red" / "gray.png").write_bytes(encoded(picture(np.random.default_rng(8)).convert("L"), "PNG"))
    return Reference.of(images, directory / "data", train_shards=5, validation_shards=2, validation_examples=20, max_rejects=3)


@pytest.mark.parametrize(("launcher", "ranks"), [("alone", 1), ("mpirun", 2)])
def test_a_build_waits_for_several_files_at_once_and_writes_the_same(
    mixed: Reference, hostile_directory: Mounter, tmp_path: Path, launcher: str, ranks: int
) -> None:
    mount = hostile_directory(mixed.images, SLOW)
    slow = Reference(mount, mixed.options, mixed.files)
    done = run(slow.command(tmp_path / "data"), launcher=launcher, ranks=ranks, timeout=120)
    assert done.returncode == 0, done.stdout
    assert contents(tmp_path / "data") == mixed.files
    assert most_in_flight(mount, "open") >= 8
