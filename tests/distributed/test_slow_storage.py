"""Builds from images on storage where each call takes long."""

import re
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from shardtune.builder.digests import DIGESTS_NAME
from shardtune.dataset.manifest import WORK_NAME
from tests.faults.injector import Injector, reads
from tests.faults.mounts import Mounter, Options, most_in_flight
from tests.faults.reference import Reference
from tests.launching import finish, run, shardtune, start
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
    assert most_in_flight(mount, "status") >= 8
    assert most_in_flight(mount, "open") >= 8


def test_the_files_of_a_list_are_looked_for_several_at_once(
    mixed: Reference, hostile_directory: Mounter, tmp_path: Path
) -> None:
    mount, file = hostile_directory(mixed.images, SLOW), tmp_path / "list.csv"
    rows = [f"{path.relative_to(mixed.images)},{path.parent.name}" for path in mixed.images.glob("*/*")]
    file.write_text("\n".join(["path,label", *rows]))
    shardtune("build", "--list", file, "--image_root", mount, "--output_directory", tmp_path / "data", "--dry_run")
    assert most_in_flight(mount, "status") >= 8


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """300 images, of which some are held out, so that all are compared first."""
    directory = tmp_path_factory.mktemp("held-out")
    images = plant(directory / "images", per_class=100)
    return Reference.of(images, directory / "data", train_shards=10, validation_shards=4, validation_fraction=0.1)


def test_one_rank_opens_each_image_once_also_where_it_compares_all_first(
    held_out: Reference, injector: Injector, tmp_path: Path
) -> None:
    opened = opened_by_build(held_out, injector, tmp_path, "alone", 1)
    assert sorted(opened) == sorted(map(str, held_out.images.glob("*/*")))


def test_ranks_write_most_of_the_images_that_they_have_read(held_out: Reference, injector: Injector, tmp_path: Path) -> None:
    opened = opened_by_build(held_out, injector, tmp_path, "mpirun", 2)
    assert set(opened) == set(map(str, held_out.images.glob("*/*")))
    assert len(opened) < 400


def opened_by_build(reference: Reference, injector: Injector, directory: Path, launcher: str, ranks: int) -> list[str]:
    """The images that a build opens, as often as it does."""
    watch = injector.environment(reference.images, directory / "log")
    done = run(reference.command(directory / "data"), launcher=launcher, ranks=ranks, timeout=60, environment=watch)
    assert done.returncode == 0, done.stdout
    assert contents(directory / "data") == reference.files
    return reads(directory / "log")


@pytest.mark.parametrize(("launcher", "ranks"), [("alone", 1), pytest.param("mpirun", 2, marks=pytest.mark.exhaustive)])
def test_a_build_that_is_killed_while_it_compares_goes_on_there(
    held_out: Reference, injector: Injector, tmp_path: Path, launcher: str, ranks: int
) -> None:
    output, slow = tmp_path / "data", injector.slow(held_out.images, 400_000)
    job = start(held_out.command(output), launcher=launcher, ranks=ranks, environment=slow)
    while not (output / WORK_NAME / DIGESTS_NAME).exists():
        assert job.poll() is None
        time.sleep(0.01)
    for process in (*psutil.Process(job.pid).children(recursive=True), job):  # ranks would live longer than mpirun
        process.kill()
    finish(job, timeout=60)
    assert not list(output.glob("train-*"))
    done = run(held_out.command(output), launcher=launcher, ranks=ranks, timeout=60)
    assert contents(output) == held_out.files, done.stdout
    [(compared, total)] = re.findall(r"^digests (\d+) of (\d+)", done.stdout, re.MULTILINE)
    assert 0 < int(compared) == int(total) < 300
