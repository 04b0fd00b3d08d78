"""Run by test_api.py on each process of a job: the functions of `shardtune`, with a small network in place of Inception v3.

usage: python -m tests.distributed.api_body whole|raising|catching IMAGES FOLDER
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import shardtune


def whole(images: Path, folder: Path) -> None:
    """Build, train and evaluate; what this process saw of it goes to FOLDER/rank-<n>.json, and its batches to rank-<n>.npz."""
    data, run = folder / "data", folder / "run"
    manifest = shardtune.build(shardtune.BuildConfig(images, output_directory=data, validation_fraction=0.2, train_shards=3))
    losses = dict[int, float]()
    config = shardtune.TrainConfig(data, run, image_size=75, batch_size=6, max_steps=4, validate_every=4)
    result = shardtune.train(config, on_step=lambda step, metrics: losses.update({step: metrics.loss}))
    figures = shardtune.evaluate(shardtune.EvalConfig(run, batch_size=4))
    page = shardtune.report(shardtune.ReportConfig((run,)))
    batches = shardtune.load_arrays(data, batch_size=4, image_size=75, seed=1)
    (first, _), (second, _) = next(batches), next(batches)
    assert len(shardtune.load_dataset(data, "validation", batch_size=4, image_size=75)) == 2  # of 12 examples on 2 processes
    from horovod import tensorflow as hvd

    seen = [manifest.sha256, losses, result.steps, [each.step for each in result.validations], figures["loss"], str(page)]
    (folder / f"rank-{hvd.rank()}.json").write_text(json.dumps(seen))
    np.savez(folder / f"rank-{hvd.rank()}.npz", first, second)


def raising(images: Path, folder: Path) -> None:
    """Rank 1 raises what nothing catches, while rank 0 waits for it."""

    def fail(step: int, _: shardtune.StepMetrics) -> None:
        if step == 2 and os.environ["OMPI_COMM_WORLD_RANK"] == "1":
            raise ValueError("of a user's own")

    shardtune.build(shardtune.BuildConfig(images, output_directory=folder / "data", train_shards=3))
    shardtune.train(shardtune.TrainConfig(folder / "data", folder / "run", image_size=75, max_steps=1000), on_step=fail)


def catching(images: Path, folder: Path) -> None:
    """What each call raises goes to FOLDER/rank-<n>.json."""
    none = folder / "none"
    (folder / "file").touch()
    calls: list[Callable[[], object]] = [
        lambda: shardtune.build(shardtune.BuildConfig(none, output_directory=folder / "data")),
        lambda: shardtune.build(shardtune.BuildConfig(images, output_directory=folder / "file" / "data")),
        lambda: shardtune.train(shardtune.TrainConfig(none, folder / "run")),
        lambda: shardtune.evaluate(shardtune.EvalConfig(none)),
        lambda: shardtune.export(shardtune.ExportConfig(none, folder / "export")),
        lambda: shardtune.report(shardtune.ReportConfig((none,))),
        lambda: shardtune.load_arrays(none),
        lambda: shardtune.Predictor(none),
    ]
    raised = list[tuple[str, str]]()
    for call in calls:
        try:
            call()
        except Exception as error:
            raised.append((type(error).__name__, str(error)))
    (folder / f"rank-{os.environ['OMPI_COMM_WORLD_RANK']}.json").write_text(json.dumps(raised))


if __name__ == "__main__":
    from shardtune.evaluate import command as evaluating
    from shardtune.train import command as training
    from tests.distributed.train_body import build
    from tests.train.networks import small

    training.train = partial(training.train, build_model=build)  # type: ignore[assignment]
    evaluating.evaluate = partial(evaluating.evaluate, build_model=partial(small, auxiliary=True))  # type: ignore[assignment]
    {"whole": whole, "raising": raising, "catching": catching}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
