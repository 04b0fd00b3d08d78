"""The whole way, small: images → shards → training on Horovod workers → evaluation on any number."""

import json
import re
from pathlib import Path

import pytest

from tests.launching import launch, shardtune

TRAIN = [
    *("--image_size", 75, "--batch_size", 8, "--max_steps", 6, "--log_every", 2),
    *("--optimizer", "adam", "--initial_learning_rate", 0.001, "--batch_norm_decay", 0.8),
]


@pytest.fixture(scope="module")
def run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory that two workers have trained."""
    directory = tmp_path_factory.mktemp("run")
    said = shardtune("train", "--data_dir", small_data, "--train_dir", directory, *TRAIN, launcher="horovodrun --mpi", ranks=2)
    assert "6 steps of 16" in said
    assert "learning rate 0.001 to 0.002" in said
    assert "No auxiliary head" in said
    return directory


def test_two_workers_agree_and_say_so(run: Path) -> None:
    # `train` itself compares checksums of every variable over the ranks, and fails where one differs.
    assert json.loads((run / "outcome.json").read_text())["outcome"] == "finished"
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6]


@pytest.mark.parametrize("subset", ["train", "validation"])
def test_any_number_of_workers_counts_the_same_integers(run: Path, small_data: Path, tmp_path: Path, subset: str) -> None:
    results = []
    for launcher, ranks in (("alone", 1), ("horovodrun --mpi", 2), ("horovodrun --gloo", 3)):
        said = shardtune(
            "eval", "--data_dir", small_data, "--checkpoint_dir", run, "--eval_dir", tmp_path, "--subset", subset,
            "--batch_size", 8, launcher=launcher, ranks=ranks,
        )  # fmt: skip
        assert len(re.findall(r"precision @ 1 = \d\.\d{4} recall @ 5 = \d\.\d{4} \[\d+ examples\]", said)) == 1
        result = json.loads((tmp_path / "eval.json").read_text())
        results.append([result[key] for key in ("examples", "top_1", "top_5")])
    assert results[0] == results[1] == results[2]
    manifest = json.loads((small_data / "dataset.json").read_text())
    assert results[0][0] == sum(manifest["class_counts"][subset])


def test_a_finished_run_is_not_trained_again(run: Path, small_data: Path) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (run / "checkpoints").iterdir())
    said = shardtune("train", "--data_dir", small_data, "--train_dir", run, *TRAIN, launcher="horovodrun --mpi", ranks=2)
    assert "has finished" in said
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in (run / "checkpoints").iterdir())


def test_a_run_cut_short_goes_on_after_its_last_checkpoint(small_data: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data_dir", small_data, "--train_dir", tmp_path, "--save_every", 3, *TRAIN]
    shardtune(*arguments)
    (tmp_path / "checkpoints/step-00000006.safetensors").unlink()
    assert "Going on after step 3" in shardtune(*arguments)
    assert (tmp_path / "checkpoints/step-00000006.safetensors").exists()


def test_ranks_with_different_weights_are_told_which(tmp_path: Path) -> None:
    code = (
        "import os, tensorflow as tf; from shardtune.world import World; from shardtune.train.guards import require_equal; "
        "w = World.from_environment('horovod', os.environ); "
        "same, other = tf.Variable(1.0), tf.Variable(float(w.rank)); "
        "require_equal(w, {'same': same}); "
        "require_equal(w, {'same': same, 'conv0/weights': other})"
    )
    with pytest.raises(AssertionError, match="1 variable.s. differ between rank 0 and rank 1 of 2 on .*, conv0/weights first"):
        launch(["-c", code], launcher="mpirun", ranks=2)
