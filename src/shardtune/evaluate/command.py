"""`shardtune eval`: find a run, its data set and its checkpoint, and evaluate it on every example of a split once.

What it prints are the lines of research/inception's inception_eval.py, and one more.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from shardtune import __version__
from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import SPLITS, Manifest, RecordIndex, Split
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.choice import choose_checkpoint
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.evaluation import Evaluation
from shardtune.evaluate.evaluator import Evaluator
from shardtune.evaluate.names import NamingReader
from shardtune.input.pipeline import InputOptions
from shardtune.model import checkpoint_file, inception, pretrained
from shardtune.runtime import devices
from shardtune.runtime.files import sha256_file
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World


def evaluate(config: EvalConfig, world: World, build_model: Callable[[int, int], Any] = inception.build) -> None:
    """Evaluate one checkpoint of a run, or every new one, for ever.

    Args:
        build_model: builds the network for a number of classes and an image size.

    Raises:
        DataError, CheckpointError: no examples, no checkpoint, or a checkpoint of other classes.
    """
    num_threads = devices.configure_devices(world)
    data_dir = world.broadcast_from_root(lambda: _data_directory(config, world))
    manifest, records, run_config, (step, checkpoint) = world.broadcast_from_root(lambda: _load_inputs(config, data_dir, world))
    run, image_size = checkpoint_file.run_directory(config.checkpoint_dir), run_config["config"]["image_size"]
    model = build_model(manifest.num_classes, image_size)
    evaluation = Evaluation(
        config=config,
        world=world,
        data_dir=data_dir,
        eval_dir=config.eval_dir or run / "eval",
        manifest=manifest,
        reader=NamingReader(data_dir, manifest, config.subset, records, config.on_corrupt),
        evaluator=Evaluator(model, config.batch_size),
        options=InputOptions(image_size, num_threads, device=devices.device()),
        provenance={
            "shardtune": __version__,
            "data_dir": str(data_dir),
            "data_sha256": manifest.sha256,
            "config_sha256": world.broadcast_from_root(lambda: sha256_file(run / checkpoint_file.RUN_CONFIG_NAME)),
        },
    )
    world.guard.set_timeout(config.hang_timeout)
    while True:
        pretrained.restore(model, checkpoint, averaged=config.ema)
        print_on_root(world, f"Successfully loaded model from {checkpoint} at step={step}.")
        evaluation.run(step, checkpoint)
        if config.run_once:
            return
        step, checkpoint = world.broadcast_from_root(partial(_wait_for_checkpoint, config, world, last_step=step))


def _data_directory(config: EvalConfig, world: World) -> Path:
    """--data_dir or, without it, that of the run; waits for the run with --run_once=False.

    Raises:
        DataError, CheckpointError: the run's is not there, or there is no run.
    """
    if config.data_dir is not None:
        return config.data_dir
    if not config.run_once and _newest_checkpoint(config) is None:
        _wait_for_checkpoint(config, world)
    run = checkpoint_file.run_directory(config.checkpoint_dir)
    data_dir = Path(str(checkpoint_file.load_run_config(run)["config"].get("data_dir")))
    if not data_dir.is_dir():
        raise DataError(
            f"The run in {run} was trained on {data_dir}, which is not there.", "Name its data set with --data_dir."
        )
    return data_dir


def _load_inputs(
    config: EvalConfig, data_dir: Path, world: World
) -> tuple[Manifest, RecordIndex, dict[str, Any], tuple[int, Path]]:
    """Manifest, record index of the split, configuration of the run, and step and path of the checkpoint to begin with.

    Raises:
        DataError: the split is empty, or there is no data set.
        CheckpointError: there is no run, it has no checkpoint, or it was trained on other classes.
    """
    manifest, records = open_data_set(data_dir, world)
    if not manifest.examples(config.subset):
        raise _empty_split_error(data_dir, manifest, config.subset)
    if not config.run_once and _newest_checkpoint(config) is None:
        _wait_for_checkpoint(config, world)
    run = checkpoint_file.run_directory(config.checkpoint_dir)
    run_config = checkpoint_file.load_run_config(run)
    if run_config["labels"] != manifest.labels:
        raise CheckpointError(
            f"The run in {run} was trained on the classes {run_config['labels']}, but {data_dir} has {manifest.labels}.",
            "Choose the data set of the run with --data_dir.",
        )
    chosen = choose_checkpoint(run, config.checkpoint if config.run_once else "last", partial(print_on_root, world))
    if chosen is None:
        raise CheckpointError(f"The run in {run} has no checkpoint yet.", "Run shardtune train first.")
    return manifest, records[config.subset], run_config, chosen


def _wait_for_checkpoint(config: EvalConfig, world: World, last_step: int | None = None) -> tuple[int, Path]:
    """Step and path of the newest checkpoint, when it is another one than that of `last_step`."""
    if last_step is None:
        print_on_root(world, f"No checkpoint file found in {config.checkpoint_dir}: waiting for one.")
    while True:
        for _ in range(config.eval_interval_secs):
            world.guard.heartbeat("waiting for a checkpoint")
            time.sleep(1)
        newest = _newest_checkpoint(config)
        if newest and newest[0] != last_step:
            return newest


def _newest_checkpoint(config: EvalConfig) -> tuple[int, Path] | None:
    return checkpoint_file.latest(checkpoint_file.run_directory(config.checkpoint_dir))


def _empty_split_error(data_dir: Path, manifest: Manifest, subset: Split) -> DataError:
    others = [split for split in SPLITS if manifest.examples(split)]
    advice = [f"pass --subset {split}" for split in others]
    if subset == "validation":
        advice.insert(0, "build the data set again with --validation_fraction 0.2")
    text = ", or ".join(advice) or "build the data set again"
    return DataError(f"The {subset} split of {data_dir} is empty.", f"{text[0].upper()}{text[1:]}.")
