"""The whole way, small: images → shards → training on Horovod workers → evaluation on any number."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.checkpoint_file import checkpoint_path, latest, load
from tests.distributed.training import TRAIN
from tests.launching import finish, launch, shardtune, start

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?"


@pytest.fixture(scope="module")
def inception_run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory in which two workers have trained Inception v3 by `TRAIN`."""
    directory = tmp_path_factory.mktemp("run")
    output = shardtune(
        "train", "--data_dir", small_data, "--train_dir", directory, *TRAIN, launcher="horovodrun --mpi", ranks=2
    )
    assert "6 steps of 16" in output
    assert "learning rate 0.001 to 0.002" in output
    assert "No auxiliary head" in output
    return directory


def test_two_workers_agree_and_say_so(inception_run: Path) -> None:
    # `train` itself compares checksums of every variable over the ranks, and fails where one differs.
    assert json.loads((inception_run / "outcome.json").read_text())["outcome"] == "finished"
    lines = [json.loads(line) for line in (inception_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]


def evaluate(run: Path, data: Path, directory: Path, subset: str, launcher: str = "alone", ranks: int = 1) -> Path:
    """The folder in `directory` with the files of an evaluation, whose output is checked."""
    output = shardtune(
        "eval", "--data_dir", data, "--checkpoint_dir", run, "--eval_dir", directory, "--subset", subset,
        "--batch_size", 8, "--input_queue_memory_factor=1", "--run_once", launcher=launcher, ranks=ranks,
    )  # fmt: skip
    assert output.count("shardtune: --input_queue_memory_factor has no effect: ") == 1
    checkpoint = run / "checkpoints" / "step-00000006.safetensors"
    positions = [
        [match.start() for match in re.finditer(line, output)]
        for line in (
            rf"Successfully loaded model from {checkpoint} at step=6\.\n",
            rf"{TIME}: starting evaluation on \({subset}\)\.\n",
            rf"{TIME}: \[\d+ batches out of \d+\] \(\d+\.\d examples/sec; \d+\.\d{{3}}sec/batch\)\n",
            rf"{TIME}: precision @ 1 = \d\.\d{{4}} recall @ 5 = \d\.\d{{4}} \[\d+ examples\]",
        )
    ]
    assert [len(found) for found in positions] == [1] * 4
    assert positions == sorted(positions)
    return directory if subset == "validation" else directory / "train"


@pytest.fixture(scope="module")
def evaluated(inception_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process says of the validation split."""
    return evaluate(inception_run, small_data, tmp_path_factory.mktemp("evaluated"), "validation")


@pytest.mark.parametrize(
    ("subset", "launcher", "ranks"),
    [
        ("validation", "gloo", 2),  # of three batches
        *(
            pytest.param(subset, launcher, ranks, marks=pytest.mark.exhaustive)
            for subset in ("validation", "train")
            for launcher, ranks in (("horovodrun --mpi", 2), ("gloo", 3))
        ),
    ],
)
def test_any_number_of_workers_counts_the_same_integers(
    inception_run: Path, evaluated: Path, small_data: Path, tmp_path: Path, subset: str, launcher: str, ranks: int
) -> None:
    folders = [
        evaluated if subset == "validation" else evaluate(inception_run, small_data, tmp_path / "1", subset),
        evaluate(inception_run, small_data, tmp_path / "2", subset, launcher, ranks),
    ]
    results = [json.loads((folder / "eval.json").read_text()) for folder in folders]
    counts = [[result[key] for key in ("examples", "top_1", "top_5")] for result in results]
    assert counts[0] == counts[1]
    assert len({(folder / "predictions.csv").read_bytes() for folder in folders}) == 1
    manifest = json.loads((small_data / "dataset.json").read_text())
    assert counts[0][0] == sum(manifest["class_counts"][subset])


def test_files_have_the_probabilities_of_their_examples(
    inception_run: Path, evaluated: Path, small_images: Path, tmp_path: Path
) -> None:
    flags = ("--checkpoint_dir", inception_run, "--batch_size", 8, "--output", tmp_path / "files.csv")
    shardtune("predict", small_images / "validation", *flags, launcher="mpirun", ranks=2)
    with (evaluated / "predictions.csv").open() as its, (tmp_path / "files.csv").open() as predicted:
        examples = {row["file"]: [*row.values()][5:] for row in csv.DictReader(its)}
        files = {row["file"].split("validation/")[1]: [*row.values()][2:] for row in csv.DictReader(predicted)}
    assert len(files) == 21
    assert files == examples


def test_each_new_checkpoint_is_evaluated_until_a_signal(inception_run: Path, small_data: Path, tmp_path: Path) -> None:
    run = shutil.copytree(inception_run, tmp_path / "run")
    flags = {"data_dir": small_data, "checkpoint_dir": run, "eval_dir": tmp_path, "ema": False}
    flags |= {"run_once": False, "eval_interval_secs": 1}
    process = start([sys.executable, "-m", "shardtune", "eval", *(f"--{name}={value}" for name, value in flags.items())])
    try:
        assert process.stdout
        for step in (6, 7):
            if step == 7:
                shutil.copy(checkpoint_path(run, 6), tmp_path / "new")
                (tmp_path / "new").rename(checkpoint_path(run, 7))
            loaded = next(line for line in process.stdout if line.startswith("Successfully loaded"))
            assert loaded.endswith(f" at step={step}.\n")
            next(line for line in process.stdout if "precision @ 1" in line)  # and eval.json is there
            result = json.loads((tmp_path / "eval.json").read_text())
            assert (result["step"], result["averaged"]) == (step, False)
    finally:
        process.terminate()
        done = finish(process, timeout=60)
    assert done.returncode == 75, done.stdout
    assert "shardtune: Stopped by a signal.\n" in done.stdout


def test_a_run_starts_from_the_averaged_weights_of_another(inception_run: Path, small_data: Path, tmp_path: Path) -> None:
    # No Horovod operation takes bfloat16, and what is frozen has no averages.
    output = shardtune(
        "train", "--data_dir", small_data, "--train_dir", tmp_path, *TRAIN, "--pretrained_model_checkpoint_path", inception_run,
        "--pretrained_ema", "--batch_norm", "synced", "--precision", "mixed_bfloat16", "--freeze_until", "mixed8",
        launcher="mpirun", ranks=2,
    )  # fmt: skip
    first, second = (load(latest(directory)[1]) for directory in (inception_run, tmp_path))  # type: ignore[index]
    frozen = [name for name in first if name.startswith("conv0/") and not name.endswith(EMA_SUFFIX)]
    assert f"Restored 378 variables from {inception_run}" in output
    assert all(np.array_equal(second[name], first[f"{name}{EMA_SUFFIX}"]) for name in frozen)
    assert not any(f"{name}{EMA_SUFFIX}" in second for name in frozen)
    shardtune("eval", "--data_dir", small_data, "--checkpoint_dir", tmp_path, "--eval_dir", tmp_path, "--ema")
    assert json.loads((tmp_path / "eval.json").read_text())["averaged"]


@pytest.mark.exhaustive
def test_float16_trains_and_keeps_its_loss_scale(small_data: Path, tmp_path: Path) -> None:
    shardtune("train", "--data_dir", small_data, "--train_dir", tmp_path, *TRAIN, "--precision", "mixed_float16")
    tensors = load(latest(tmp_path)[1])  # type: ignore[index]
    # Through random weights gradients grow to hundreds, so the first steps overflow, and are skipped.
    assert 1 <= tensors["loss_scale/scale"] < 2**15
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


@pytest.mark.exhaustive
def test_a_run_cut_short_goes_on_after_its_last_checkpoint(small_data: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data_dir", small_data, "--train_dir", tmp_path, "--save_every", 3, *TRAIN]
    shardtune(*arguments)
    (tmp_path / "checkpoints/step-00000006.safetensors").unlink()
    assert "Resuming after step 3" in shardtune(*arguments)
    assert (tmp_path / "checkpoints/step-00000006.safetensors").exists()


def test_ranks_with_different_weights_are_told_which(tmp_path: Path) -> None:
    code = (
        "import os, tensorflow as tf; from shardtune.runtime.world import World; "
        "from shardtune.train.consistency import check_equal_weights; "
        "w = World.from_environment('horovod', os.environ); "
        "same, other = tf.Variable(1.0), tf.Variable(float(w.rank)); "
        "check_equal_weights(w, {'same': same}); "
        "check_equal_weights(w, {'same': same, 'conv0/weights': other})"
    )
    with pytest.raises(
        AssertionError, match=r"differ between rank 0 and rank 1 of 2 on .*: 1 variable.s., first conv0/weights"
    ):
        launch(["-c", code], launcher="mpirun", ranks=2)
