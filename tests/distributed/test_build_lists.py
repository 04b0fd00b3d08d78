"""Builds of lists, of groups and of a test split on several ranks: the same bytes as on one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shardtune.builder.receipts import RECEIPTS_NAME
from shardtune.dataset.manifest import WORK_NAME, Manifest
from tests.faults.reference import identities
from tests.launching import run, shardtune
from tests.pictures import plant
from tests.records import contents

DOCUMENT = Path(__file__).parents[2] / "docs" / "imagenet.md"


@pytest.mark.parametrize("source", ["list", "folders"])
def test_any_number_of_ranks_builds_the_same_bytes(tmp_path: Path, source: str) -> None:
    images = plant(tmp_path / "images", per_class=20)
    rows = [f"{path.relative_to(images)},{path.parent.name},{path.stem[-1]}" for path in images.rglob("*.jpg")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *rows]))
    given = ["--list", tmp_path / "list.csv", "--image_root", images] if source == "list" else ["--train_directory", images]
    groups = [] if source == "list" else ["--group_by", r"([0-9])\."]
    shards = ["--train_shards", 5, "--validation_shards", 2, "--test_shards", 3]
    options = [*given, *groups, *shards, "--validation_fraction", 0.2, "--test_fraction", 0.1]
    shardtune("build", *options, "--output_directory", tmp_path / "alone")
    command = [sys.executable, "-m", "shardtune", "build", *map(str, options), "--output_directory", str(tmp_path / "together")]
    done = run(command, launcher="mpirun", ranks=3, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "Groups: 10, of 6 to 6 images; 7 in train (70.0% of the images), 2 in validation (20.0%" in done.stdout
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")
    shardtune("verify", tmp_path / "together", launcher="mpirun", ranks=3)


def test_what_is_wrong_in_a_list_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\nnowhere.jpg,cat\n")
    command = ["build", "--list", str(tmp_path / "list.csv"), "--output_directory", str(tmp_path / "data")]
    done = run([sys.executable, "-m", "shardtune", *command], launcher="mpirun", ranks=2, timeout=60)
    assert done.returncode == 1, done.stdout
    [complaint] = [line for line in done.stdout.splitlines() if line.startswith("shardtune: ")]
    assert "has 1 wrong line(s): line 2: 'nowhere.jpg' is no file. Correct or remove them." in complaint


def test_a_flat_validation_folder_becomes_a_list_as_the_document_says(tmp_path: Path) -> None:
    plant(tmp_path / "train", per_class=3, classes=("n01440764", "n01443537"))
    plant(tmp_path / "validation", per_class=4, classes=(".",), seed=3)
    for folder in ("train", "validation"):
        for path in (tmp_path / folder).rglob("*.jpg"):
            path.rename(path.with_suffix(".JPEG"))
    synsets = ["n01443537", "n01440764", "n01440764", "n01443537"]
    (tmp_path / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(synsets) + "\n")
    (tmp_path / "imagenet_metadata.txt").write_text("n01440764\ttench\nn01443537\tgoldfish\n")
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "--list" in block]
    assert "mpirun -n 8 shardtune" in block
    script = block.replace("mpirun -n 8 shardtune", f"{sys.executable} -m shardtune")
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True, env={**os.environ, "LC_ALL": "C"})
    manifest = Manifest.load(tmp_path / "data")
    assert manifest.class_counts == {"train": [3, 3], "validation": [2, 2]}
    assert manifest.words == ["tench", "goldfish"]
    lines = (tmp_path / "imagenet.csv").read_text().splitlines()[-4:]
    assert lines == [f"validation/.-{number:02d}.JPEG,{synset},validation" for number, synset in enumerate(synsets)]


def test_several_ranks_repair_shards_and_preview_a_build(tmp_path: Path) -> None:
    images, data = plant(tmp_path / "images", per_class=20), tmp_path / "data"
    options = ["--train_directory", images, "--output_directory", data, "--train_shards", 6]
    command = [sys.executable, "-m", "shardtune", "build", *map(str, options)]
    done = run([*command, "--dry_run"], launcher="mpirun", ranks=3, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "Ranks: 3, of 2 to 2 shards and " in done.stdout
    assert not data.exists()
    shardtune("build", *options)
    before = contents(data)
    for number, damage in enumerate((b"", None, b"x")):
        path = data / f"train-0000{2 * number}-of-00006"
        path.unlink() if damage is None else path.write_bytes(damage + path.read_bytes()[len(damage) or 9 :])
    (data / "duplicates.jsonl").unlink()
    (data / WORK_NAME / RECEIPTS_NAME / "train-00001-of-00006.json").unlink()  # without which that report cannot be written
    kept = identities(data, ["train-00003-of-00006", "train-00005-of-00006", "records.bin", "labels.txt", "dataset.json"])
    done = run(command, launcher="mpirun", ranks=3, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "Repaired: train-00000-of-00006, train-00001-of-00006, train-00002-of-00006, train-00004-of-00006, " in done.stdout
    assert contents(data) == before
    assert identities(data, kept) == kept
