"""The files and output of runs, several features in each."""

import json
from pathlib import Path

import tensorflow as tf

from shardtune.model import checkpoint_file
from tests.distributed.training import UNBUILDABLE, metrics, outcome, train


def written(run: Path) -> list[tuple[str, int]]:
    """The files of checkpoints and when each was written."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in (run / "checkpoints").iterdir())


def test_a_run_that_gets_no_better_ends_early_and_keeps_the_best(small_data: Path, tmp_path: Path) -> None:
    flags = (
        *(
            "--initial_learning_rate",
            1e-12,
            "--freeze_until",
            "norm",
            "--max_steps",
            100,
            "--validate_every",
            5,
            "--patience",
            2,
        ),
        *("--save_every", 4, "--keep_checkpoints", 2, "--histograms", "--profile", "2,4"),
    )
    output = train(small_data, tmp_path, *flags, over="alone", ranks=1)
    assert "Finished 15 steps" in output
    assert output.count("[21 examples]") == 3
    assert [step for step, _ in checkpoint_file.list_checkpoints(tmp_path)] == [5, 12, 15]
    assert json.loads((tmp_path / "checkpoints" / "best.json").read_text())["step"] == 5
    assert list(metrics(tmp_path, "validation_precision_at_1")) == [5, 10, 15]
    assert {"outcome": "finished", "step": 15, "attempt": 1}.items() <= outcome(tmp_path).items()
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))
    tags = {
        value.tag
        for path in tmp_path.glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"loss", "learning_rate", "validation_precision_at_1", "logits/logits/weights", "pool"} <= tags
    before = written(tmp_path)
    for over, ranks in (("alone", 1), ("mpi", 2)):
        again = train(small_data, tmp_path, *flags, over=over, ranks=ranks, environment={UNBUILDABLE: "1"})
        assert f"This run has finished: all 15 steps are in {tmp_path}." in again
        assert written(tmp_path) == before
    assert outcome(tmp_path)["attempt"] == 1


def test_two_workers_with_all_that_changes_a_step(small_data: Path, tmp_path: Path) -> None:
    flags = (
        *(
            "--batch_size",
            3,
            "--gradient_accumulation_steps",
            2,
            "--lr_scaling",
            "sqrt",
            "--warmup_epochs",
            1,
            "--max_steps",
            20,
            "--clip_norm",
            1,
        ),
        *("--optimizer", "rmsprop", "--compression", "fp16", "--learning_rate_decay", "constant", "--timeline"),
    )
    train(small_data, tmp_path, *flags, over="mpi", ranks=2)
    run = json.loads((tmp_path / "config.json").read_text())
    assert (run["global_batch"], run["scale"]) == (12, 2.0)
    rates = metrics(tmp_path, "learning_rate")
    assert (rates[1], rates[20]) == (0.05, 0.1)  # base at step 0, base × scale after the warm-up
    losses = list(metrics(tmp_path, "loss").values())
    assert sum(losses[-5:]) < sum(losses[:5])
    assert 0 < metrics(tmp_path, "communication_share")[20] < 1
    assert "ALLREDUCE" in (tmp_path / "timeline.json").read_text()
    for rank in (0, 1):
        assert f"rank {rank} of 2" in (tmp_path / "logs" / f"rank-{rank}.log").read_text()


def test_a_schedule_is_shown_without_training(small_data: Path, tmp_path: Path) -> None:
    output = train(small_data, tmp_path / "run", "--show_schedule", over="alone", ranks=1)
    assert output.splitlines()[0].split() == ["step", "epoch", "learning", "rate"]
    assert not (tmp_path / "run").exists()
