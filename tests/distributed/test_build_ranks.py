"""Any number of ranks builds the same bytes, of images of all kinds."""

import json
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from shardtune.dataset.manifest import MANIFEST_NAME
from tests.faults.reference import Reference
from tests.launching import run
from tests.pictures import CLASSES, encoded, picture, plant
from tests.records import contents


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """36 images that are stored, encoded anew, rejected, skipped, held out, or have boxes."""
    directory = tmp_path_factory.mktemp("mixed")
    images, generator = plant(directory / "images", per_class=8), np.random.default_rng(1)
    for name in CLASSES:
        (images / name / "gray.jpg").write_bytes(encoded(picture(generator).convert("L")))
        (images / name / "empty.jpg").write_bytes(b"")
        (images / name / "copy.jpg").write_bytes((images / "blue" / "blue-00.jpg").read_bytes())
        (images / name / "dangling.jpg").symlink_to("nowhere")
    (directory / "boxes.csv").write_text("blue-01,0,0,0.5,0.5\nred-02,0.25,0,1,1\nred/copy,0,0,1,1\ngreen/copy,0,0,1,1\n")
    options = {"train_shards": 4, "validation_shards": 2, "validation_fraction": 0.25, "duplicates": "skip", "max_rejects": 6}
    return Reference.of(images, directory / "data", **options, bounding_box_file=directory / "boxes.csv")


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_any_number_of_ranks_builds_the_same_bytes(mixed: Reference, tmp_path: Path, ranks: int) -> None:
    done = run([*mixed.command(tmp_path), "--num_threads=8"], launcher="mpirun", ranks=ranks, timeout=60)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("shardtune: --num_threads has no effect: ") == 1
    validation, train = re.findall(r"(?<=\nFinished writing all )\d+(?= images in data set\.\n)", done.stdout)
    assert int(validation) + int(train) == 27
    assert done.stdout.endswith(f"The train split has 4 shard(s).\nFinished writing all {train} images in data set.\n")
    assert contents(tmp_path) == mixed.files
    assert all(mixed.files[name] for name in ("rejects.jsonl", "duplicates.jsonl"))
    assert json.loads(mixed.files[MANIFEST_NAME])["provenance"]["boxes"]["moved"] == 2


def test_a_rank_without_files_to_compare_sends_nothing(tmp_path: Path) -> None:
    # Rank 0 waits for the digests of all files. What came after them it would take for what is sent next.
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"x")
    code = """
import os, sys, time
from pathlib import Path
from shardtune.builder.digests import digest_tables
from shardtune.builder.listing import Walk, scan
from shardtune.images.ignored import Ignored
from shardtune.runtime.world import World

def send_late(world, value):
    time.sleep(0.3 * (world.rank == 1))
    world._communicator.send_to_root(value)

World.send_to_root, root = send_late, Path(sys.argv[1])
world = World.from_environment("mpi", os.environ)
tables = world.run_on_root(lambda: {"train": scan(root, ["a"], Walk([root], Ignored()))})
digest_tables({"train": root}, tables, root / "cache", world)
world.barrier()
if world.is_root:
    print(world.receive_pending())
"""
    done = run([sys.executable, "-c", code, str(tmp_path)], launcher="mpirun", ranks=3, timeout=60)
    assert done.stdout.splitlines()[1:] == ["[]"], done.stdout


def test_a_rank_that_hangs_while_it_compares_is_named_not_one_that_waits(mixed: Reference, tmp_path: Path) -> None:
    code = """
import os, sys, time
from shardtune.builder import digests
from shardtune.cli import main

seconds, digest = iter([1.1, 1.1, 600]), digests.digest  # it reports every second

def hang(data):
    if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
        time.sleep(next(seconds))
    return digest(data)

digests.digest = hang
main(sys.argv[1:])
"""
    [python, _, _, *arguments] = mixed.command(tmp_path)
    done = run([python, "-c", code, *arguments, "--hang_timeout=3"], launcher="mpirun", ranks=2, timeout=60)
    assert done.returncode != 0
    assert re.findall(r"No progress for 3 s: .*", done.stdout) == [
        f"No progress for 3 s: rank 1 of 2 on {socket.gethostname()} is late (looking for identical images)"
    ]
