"""`shardtune eval`: find a checkpoint and its data set, and evaluate it on every example of a split once.

What it prints are the lines of research/inception's inception_eval.py, and one more.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from shardtune import __version__
from shardtune.dataset.columns import RecordIndex
from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import SPLITS, Split
from shardtune.errors import DataError
from shardtune.evaluate.checkpoint_source import Checkpoint, find_checkpoint, find_data_directory, no_checkpoint_error
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.evaluation import Evaluation
from shardtune.evaluate.evaluator import Evaluator
from shardtune.evaluate.names import NamingReader
from shardtune.evaluate.network import build_inception, open_network
from shardtune.evaluate.result import Result, result_folder
from shardtune.input.pipeline import InputOptions
from shardtune.runtime import devices
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

T = TypeVar("T")


def evaluate(config: EvalConfig, world: World, build_model: Callable[[int, int], Any] = build_inception) -> Result:
    """Evaluate one checkpoint and return its result, on every rank; or evaluate every new one, for ever.

    Args:
        build_model: builds the network for a number of classes and an image size.

    Raises:
        DataError, CheckpointError: no examples, no checkpoint, or a checkpoint of other classes.
    """
    num_threads = devices.configure_devices(world)
    data_dir = config.data_dir or world.broadcast_from_root(
        partial(_wait_for, config, world, partial(find_data_directory, config.checkpoint_dir))
    )
    manifest, records, checkpoint = world.broadcast_from_root(lambda: _load_inputs(config, data_dir, world))
    network = open_network(checkpoint, config.batch_size, num_threads, build_model)
    evaluation = Evaluation(
        config=config,
        world=world,
        data_dir=data_dir,
        eval_dir=result_folder(config.eval_dir or checkpoint.eval_dir, config.subset),
        manifest=manifest,
        reader=NamingReader(data_dir, manifest, config.subset, records, config.on_corrupt),
        evaluator=Evaluator(network),
        options=InputOptions(checkpoint.image_size, num_threads, device=devices.device()),
        provenance={"shardtune": __version__, "data_dir": str(data_dir), "data_sha256": manifest.sha256},
    )
    world.guard.set_timeout(config.hang_timeout)
    while True:
        network.restore(checkpoint)
        print_on_root(world, f"Successfully loaded model from {checkpoint.path} at step={checkpoint.step}.")
        for note in checkpoint.notes:
            print_on_root(world, note)
        result = evaluation.run(checkpoint)
        if config.run_once:
            return result
        find_another = partial(_find_another, config, data_dir, manifest, checkpoint.step)
        checkpoint = world.broadcast_from_root(partial(_wait_for, config, world, find_another, is_announced=False))


def _load_inputs(config: EvalConfig, data_dir: Path, world: World) -> tuple[Manifest, RecordIndex, Checkpoint]:
    """Manifest, record index of the split, and the checkpoint to begin with.

    Raises:
        DataError: the split is empty, or there is no data set.
        CheckpointError: there is no checkpoint, or it is of other classes.
    """
    manifest, records = open_data_set(data_dir, world)
    if not manifest.examples(config.subset):
        raise _empty_split_error(data_dir, manifest, config.subset)
    checkpoint = _wait_for(config, world, partial(_find_checkpoint, config, data_dir, manifest))
    return manifest, records[config.subset], checkpoint


def _find_checkpoint(config: EvalConfig, data_dir: Path, manifest: Manifest) -> Checkpoint | None:
    """The chosen checkpoint, or with --run_once=False the newest; None if there is none yet."""
    choice = config.checkpoint if config.run_once else "last"
    checkpoint = find_checkpoint(config.checkpoint_dir, choice, ema=config.ema, image_size=config.image_size)
    if checkpoint:
        checkpoint.check_classes(data_dir, manifest)
    return checkpoint


def _find_another(config: EvalConfig, data_dir: Path, manifest: Manifest, last_step: int) -> Checkpoint | None:
    """The newest checkpoint, unless it is that of `last_step`."""
    newest = _find_checkpoint(config, data_dir, manifest)
    return newest if newest and newest.step != last_step else None


def _wait_for(config: EvalConfig, world: World, find: Callable[[], T | None], *, is_announced: bool = True) -> T:
    """What `find` finds; with --run_once=False, as soon as it is there.

    Raises:
        CheckpointError: it is not there, and --run_once.
    """
    found = find()
    if found is None and config.run_once:
        raise no_checkpoint_error(config.checkpoint_dir)
    if found is None and is_announced:
        print_on_root(world, f"No checkpoint file found in {config.checkpoint_dir}: waiting for one.")
    while found is None:
        for _ in range(config.eval_interval_secs):
            world.guard.heartbeat("waiting for a checkpoint")
            time.sleep(1)
        found = find()
    return found


def _empty_split_error(data_dir: Path, manifest: Manifest, subset: Split) -> DataError:
    others = [split for split in SPLITS if manifest.examples(split)]
    advice = [f"pass --subset {split}" for split in others]
    if subset != "train":
        advice.insert(0, f"build the data set again with --{subset}_fraction 0.2")
    text = ", or ".join(advice) or "build the data set again"
    return DataError(f"The {subset} split of {data_dir} is empty.", f"{text[0].upper()}{text[1:]}.")
