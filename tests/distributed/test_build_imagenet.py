"""Builds, checks and trains on a tree of synsets as ImageNet's pages of 2016 have it, on one process and on two."""

import json
from pathlib import Path

import pytest

from tests.faults.reference import Reference
from tests.launching import run, shardtune
from tests.records import contents
from tests.synsets import WORDS, SynsetTree, plant_synsets


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> SynsetTree:
    return plant_synsets(tmp_path_factory.mktemp("imagenet"))


# As many as build_image_data.py and build_imagenet_data.py made of flowers and of ImageNet.
@pytest.mark.parametrize(
    ("train_shards", "validation_shards"), [(128, 24), pytest.param(1024, 128, marks=pytest.mark.exhaustive)]
)
def test_any_number_of_ranks_builds_the_same_bytes(
    tree: SynsetTree, tmp_path: Path, train_shards: int, validation_shards: int
) -> None:
    shards = {"train_shards": train_shards, "validation_shards": validation_shards}
    reference = Reference.of(tree.images, tmp_path / "alone", **tree.options, **shards)
    done = run([*reference.command(tmp_path / "together"), "--num_threads=8"], launcher="mpirun", ranks=2, timeout=120)
    assert done.returncode == 0, done.stdout
    for line in (
        "Reencoded: 1 cmyk, 1 png.",
        f"The validation split has {validation_shards} shard(s).\nFinished writing all 10 images in data set.",
        f"The train split has {train_shards} shard(s).\nFinished writing all 20 images in data set.\n",
    ):
        assert line in done.stdout
    assert contents(tmp_path / "together") == reference.files
    for split, count in (("train", train_shards), ("validation", validation_shards)):
        names = {f"{split}-{number:05d}-of-{count:05d}" for number in range(count)}
        assert {name for name in reference.files if name.startswith(f"{split}-")} == names
    shardtune("verify", tmp_path / "together", launcher="mpirun", ranks=2)


@pytest.mark.exhaustive
def test_training_and_evaluation_take_it(tree: SynsetTree, tmp_path: Path) -> None:
    Reference.of(tree.images, tmp_path / "data", **tree.options, train_shards=2, validation_shards=1)
    data = ("--data_dir", tmp_path / "data")
    steps = ("--batch_size", 8, "--max_steps", 2, "--augment", "inception", "--validate_epochs", 0)
    shardtune("train", *data, "--train_dir", tmp_path / "run", "--image_size", 75, *steps)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["labels"] == list(WORDS)
    shardtune("eval", *data, "--checkpoint_dir", tmp_path / "run", "--eval_dir", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "eval.json").read_text())["examples"] == 10
