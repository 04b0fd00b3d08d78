"""The checkpoint to evaluate: one of a run of shardtune, or one that TensorFlow 1 left (research/inception, TF-Slim)."""

from dataclasses import dataclass
from pathlib import Path

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError
from shardtune.evaluate.config import EvalConfig
from shardtune.model import checkpoint_file, tensorflow_files, weight_files

OLD_IMAGE_SIZE = 299  # the default of research/inception's --image_size, and of TF-Slim's inception_v3


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that fits the data set.

    Attributes:
        path: see `weight_files.read`.
        step: the steps of training before it.
        image_size: pixels of each side of the images that its network sees.
        averaged: whether to evaluate averaged weights.
        notes: sentences about what it does not say and what is taken instead.
    """

    path: Path
    step: int
    image_size: int
    averaged: bool
    notes: tuple[str, ...] = ()


def find_newest(config: EvalConfig, manifest: Manifest) -> Checkpoint | None:
    """The newest checkpoint of `config.checkpoint_dir`, or None if there is none yet.

    Raises:
        CheckpointError: it cannot be read, or is of other classes than the data set.
    """
    run = _run_directory(config.checkpoint_dir)
    if newest := checkpoint_file.latest(run):
        return _of_run(run, *newest, config, manifest)
    prefix = tensorflow_files.newest(config.checkpoint_dir)
    return _of_tensorflow(prefix, config, manifest) if prefix else None


def no_checkpoint_error(config: EvalConfig) -> CheckpointError:
    """The error where `find_newest` finds none."""
    run = _run_directory(config.checkpoint_dir)
    if (run / checkpoint_file.RUN_CONFIG_NAME).exists():
        return CheckpointError(f"The run in {run} has no checkpoint yet.", "Run shardtune train first.")
    if name := tensorflow_files.named_in_state(run):
        return CheckpointError(
            f"{run / tensorflow_files.STATE_NAME} names the checkpoint {name}, which is not there.",
            "Restore it from a copy, or give the path of another one.",
        )
    return CheckpointError(
        f"{run} is no run directory: it has no {checkpoint_file.RUN_CONFIG_NAME}.",
        "Give the --train_dir of a run, or a checkpoint of TensorFlow: its directory, or its path without the suffix.",
    )


def _of_run(run: Path, step: int, path: Path, config: EvalConfig, manifest: Manifest) -> Checkpoint:
    run_config = checkpoint_file.load_run_config(run)
    if run_config["labels"] != manifest.labels:
        raise CheckpointError(
            f"The run in {run} was trained on the classes {run_config['labels']}, but {config.data_dir} has {manifest.labels}.",
            "Choose the data set of the run with --data_dir.",
        )
    return Checkpoint(path, step, config.image_size or run_config["config"]["image_size"], config.ema)


def _of_tensorflow(prefix: Path, config: EvalConfig, manifest: Manifest) -> Checkpoint:
    summary = weight_files.describe_tensorflow(prefix)
    if summary.num_classes != manifest.num_classes:
        advice = "Choose the data set that it was trained on with --data_dir."
        if summary.num_classes == len(manifest.labels):
            advice = "It seems to have no background class, as TF-Slim's for its own data sets: eval cannot measure such a one."
        raise CheckpointError(
            f"The checkpoint {prefix} has {summary.num_classes} outputs, but {config.data_dir} needs {manifest.num_classes} "
            f"({len(manifest.labels)} classes and the background).",
            advice,
        )
    notes = [f"It has no names of classes: its outputs are taken for the classes of {config.data_dir} in their order."]
    if config.ema and not summary.has_averages:
        notes.append("It has no averaged weights: those of its last step are evaluated.")
    step = tensorflow_files.step_in_name(prefix)  # as in 2016, whose trainer saved a global_step of 2000 in model.ckpt-1999
    return Checkpoint(
        prefix,
        summary.step if step is None else step,
        config.image_size or OLD_IMAGE_SIZE,
        config.ema and summary.has_averages,
        tuple(notes),
    )


def _run_directory(checkpoint_dir: Path) -> Path:
    """The run of a --checkpoint_dir: that directory itself or, for the checkpoints folder of a run, its parent."""
    folder = checkpoint_dir.absolute()
    is_run = (folder / checkpoint_file.RUN_CONFIG_NAME).exists()
    parent_is_run = folder.name == "checkpoints" and (folder.parent / checkpoint_file.RUN_CONFIG_NAME).exists()
    return folder.parent if parent_is_run and not is_run else checkpoint_dir
