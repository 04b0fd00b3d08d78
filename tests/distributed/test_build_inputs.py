"""Builds on several ranks whose input is not as it should be: all end, with one sentence, and what is finished stays."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from shardtune.builder.finalize import REJECTS_NAME
from shardtune.dataset.manifest import MANIFEST_NAME
from tests.faults.reference import Reference
from tests.launching import run
from tests.pictures import plant
from tests.records import contents

# Each rank runs where its number says, so that one relative path leads to different folders.
ELSEWHERE = 'cd "$0/$OMPI_COMM_WORLD_RANK" && exec "$@"'


EXHAUSTIVE = [pytest.param(view, marks=pytest.mark.exhaustive) for view in ("fewer images", "shorter images")]


@pytest.mark.parametrize("view", ["nothing", "another class", "fewer images of its own part", *EXHAUSTIVE])
def test_a_rank_that_sees_other_images_is_named(tmp_path: Path, view: str) -> None:
    first = plant(tmp_path / "0" / "images", per_class=3)
    (tmp_path / "1").mkdir()
    if view != "nothing":
        other = shutil.copytree(first, tmp_path / "1" / "images")
        if view == "another class":
            (other / "red").rename(other / "violet")
        elif view == "fewer images of its own part":
            (other / "green" / "green-00.jpg").unlink()  # rank 1 of 3 lists the second class
        elif view == "fewer images":
            (other / "red" / "red-00.jpg").unlink()
        else:
            (other / "red" / "red-00.jpg").write_bytes(b"x")
    shutil.copytree(first, tmp_path / "2" / "images")  # on another disk, say
    command = [sys.executable, "-m", "shardtune", "build", "--train_directory", "images", "--output_directory"]
    words = ["bash", "-c", ELSEWHERE, str(tmp_path), *command, str(tmp_path / "data")]
    done = run(words, launcher="mpirun", ranks=3, timeout=60)
    assert done.returncode == 1, done.stdout
    [complaint] = [line for line in done.stdout.splitlines() if line.startswith("shardtune: ")]
    assert complaint.startswith("shardtune: In train_directory images, rank 1 of 3 on ")
    assert " sees other images than rank 0. " in complaint
    assert not (tmp_path / "data").exists()


def test_too_many_rejects_end_all_ranks_and_may_be_removed(tmp_path: Path) -> None:
    images, output = plant(tmp_path / "images", per_class=8), tmp_path / "data"
    for path in images.glob("*/*-0[0-3].jpg"):
        path.write_bytes(path.name.encode())
    options = {"train_shards": 6, "max_rejects": 2}
    command = Reference(images, options, {}).command(output)
    removed = 0
    while not (output / MANIFEST_NAME).exists():
        done = run(command, launcher="mpirun", ranks=3, timeout=60)
        if done.returncode:
            assert done.returncode == 1, done.stdout
            [complaint] = [line for line in done.stdout.splitlines() if line.startswith("shardtune: ")]
            assert re.match(r"shardtune: \d+ image\(s\) cannot be stored, but --max_rejects is 2 \(first ", complaint)
            rejects = [json.loads(line)["path"] for line in (output / REJECTS_NAME).read_text().splitlines()]
            assert len(rejects) >= 3
            for path in rejects:
                (images / path).unlink()
            removed += len(rejects)
    assert removed >= 10
    fresh = Reference.of(images, tmp_path / "fresh", **options)
    assert contents(output) == fresh.files


@pytest.mark.parametrize(("link", "target"), [("c/more", "../a/sub"), ("b/more", "../a/sub")])
def test_a_folder_of_two_classes_is_the_same_error_for_any_number_of_ranks(tmp_path: Path, link: str, target: str) -> None:
    images = plant(tmp_path / "images", per_class=2, classes=("a", "b", "c"))
    plant(images / "a", per_class=2, classes=("sub",), seed=1)
    (images / link).symlink_to(target)
    command = Reference(images, {}, {}).command(tmp_path / "data")
    alone, many = (run(command, launcher=launcher, ranks=3, timeout=120) for launcher in ("alone", "mpirun"))
    [error] = [line for line in alone.stdout.splitlines() if line.startswith("shardtune: ")]
    assert "are the same folder, in two classes or splits" in error
    assert alone.returncode == many.returncode == 1
    assert [line for line in many.stdout.splitlines() if line.startswith("shardtune: ")] == [error]
