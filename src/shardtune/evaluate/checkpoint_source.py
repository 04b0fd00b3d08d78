"""The checkpoint to evaluate: one of a run of shardtune, or one that TensorFlow 1 left (research/inception, TF-Slim)."""

from dataclasses import dataclass
from pathlib import Path

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.choice import choose_checkpoint
from shardtune.evaluate.config import EvalConfig
from shardtune.model import checkpoint_file, tensorflow_files, weight_files

OLD_IMAGE_SIZE = 299  # the default of research/inception's --image_size, and of TF-Slim's inception_v3


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that fits the data set.

    Attributes:
        directory: of the run, or of the files of TensorFlow.
        path: see `weight_files.read`.
        step: the steps of training before it.
        image_size: pixels of each side of the images that its network sees.
        averaged: whether to evaluate averaged weights.
        notes: sentences about which it is, and about what it does not say and what is taken instead.
    """

    directory: Path
    path: Path
    step: int
    image_size: int
    averaged: bool
    notes: tuple[str, ...] = ()


def find_checkpoint(config: EvalConfig, data_dir: Path, manifest: Manifest) -> Checkpoint | None:
    """The checkpoint of `config.checkpoint_dir` that --checkpoint chooses; with --run_once=False the newest. None if there is
    none yet.

    Raises:
        CheckpointError: it cannot be read, is of other classes than the data set, or there are others than the chosen one.
    """
    if config.checkpoint_dir.suffix == ".safetensors":
        raise CheckpointError(f"{config.checkpoint_dir} is one checkpoint of a run.", "Give the run, and --checkpoint STEP.")
    run, notes = checkpoint_file.run_directory(config.checkpoint_dir), list[str]()
    if chosen := choose_checkpoint(run, config.checkpoint if config.run_once else "last", notes.append):
        return _of_run(run, *chosen, notes, config, data_dir, manifest)
    prefix = tensorflow_files.newest(config.checkpoint_dir)
    return _of_tensorflow(prefix, config, data_dir, manifest) if prefix else None


def find_data_directory(config: EvalConfig) -> Path | None:
    """The data set on which the run in `config.checkpoint_dir` was trained, or None if there is no run yet.

    Raises:
        DataError: it is not there, or `config.checkpoint_dir` does not say which it is.
    """
    run = checkpoint_file.run_directory(config.checkpoint_dir)
    if not (run / checkpoint_file.RUN_CONFIG_NAME).exists():
        if tensorflow_files.newest(config.checkpoint_dir):
            raise DataError("Checkpoints of TensorFlow do not name the data set of their training.", "Name it with --data_dir.")
        return None
    data_dir = Path(str(checkpoint_file.load_run_config(run)["config"].get("data_dir")))
    if not data_dir.is_dir():
        raise DataError(
            f"The run in {run} was trained on {data_dir}, which is not there.", "Name its data set with --data_dir."
        )
    return data_dir


def no_checkpoint_error(config: EvalConfig) -> CheckpointError:
    """The error where `find_checkpoint` finds none."""
    run = checkpoint_file.run_directory(config.checkpoint_dir)
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


def _of_run(
    run: Path, step: int, path: Path, notes: list[str], config: EvalConfig, data_dir: Path, manifest: Manifest
) -> Checkpoint:
    run_config = checkpoint_file.load_run_config(run)
    if run_config["labels"] != manifest.labels:
        raise CheckpointError(
            f"The run in {run} was trained on the classes {run_config['labels']}, but {data_dir} has {manifest.labels}.",
            "Choose the data set of the run with --data_dir.",
        )
    image_size = config.image_size or run_config["config"]["image_size"]
    return Checkpoint(run, path, step, image_size, config.ema, tuple(notes))


def _of_tensorflow(prefix: Path, config: EvalConfig, data_dir: Path, manifest: Manifest) -> Checkpoint:
    if config.checkpoint not in (None, "last"):
        raise CheckpointError(
            f"--checkpoint {config.checkpoint} chooses a checkpoint of a run; {config.checkpoint_dir} has TensorFlow's.",
            "Give the path of one as --checkpoint_dir, without its suffix.",
        )
    summary = weight_files.describe_tensorflow(prefix)
    if summary.num_classes != manifest.num_classes:
        advice = "Choose the data set that it was trained on with --data_dir."
        if summary.num_classes == len(manifest.labels):
            advice = "It seems to have no background class, as TF-Slim's for its own data sets: eval cannot measure such a one."
        raise CheckpointError(
            f"The checkpoint {prefix} has {summary.num_classes} outputs, but {data_dir} needs {manifest.num_classes} "
            f"({len(manifest.labels)} classes and the background).",
            advice,
        )
    notes = [f"It has no names of classes: its outputs are taken for the classes of {data_dir} in their order."]
    if config.ema and not summary.has_averages:
        notes.append("It has no averaged weights: those of its last step are evaluated.")
    step = tensorflow_files.step_in_name(prefix)  # as in 2016, whose trainer saved a global_step of 2000 in model.ckpt-1999
    return Checkpoint(
        prefix.parent,
        prefix,
        summary.step if step is None else step,
        config.image_size or OLD_IMAGE_SIZE,
        config.ema and summary.has_averages,
        tuple(notes),
    )
