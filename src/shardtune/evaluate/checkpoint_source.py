"""Where weights come from: a run of shardtune, an export, or a checkpoint of TensorFlow 1 (research/inception, TF-Slim)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.choice import choose_checkpoint
from shardtune.evaluate.exported import ExportedModel, find_exported
from shardtune.model import checkpoint_file, tensorflow_files, weight_files

OLD_IMAGE_SIZE = 299  # the default of research/inception's --image_size, and of TF-Slim's inception_v3


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a network, and what is known about them.

    Attributes:
        directory: of the run, of the export, or of the files of TensorFlow.
        path: see `weight_files.read`; or of the exported model.
        step: the steps of training before it.
        image_size: pixels of each side of the images that its network sees.
        averaged: whether to take, or to have taken, averaged weights.
        num_classes: the background class included.
        labels: the classes without the background class; None where they are not known.
        run_config: config.json of its run, if it has one.
        exported: it, if it was exported.
        notes: sentences about which it is, and about what it does not say and what is taken instead.
    """

    directory: Path
    path: Path
    step: int
    image_size: int
    averaged: bool
    num_classes: int
    labels: Sequence[str] | None = None
    run_config: Mapping[str, Any] | None = None
    exported: ExportedModel | None = None
    notes: tuple[str, ...] = ()

    @property
    def eval_dir(self) -> Path:
        """Where the results of its evaluation go, unless another directory is given."""
        folder = self.directory / "eval"
        return folder / self.path.name if self.exported else folder

    @property
    def files(self) -> list[Path]:
        """All files that hold the weights."""
        if self.path.is_dir():  # a SavedModel
            return sorted(path for path in self.path.rglob("*") if path.is_file())
        return tensorflow_files.files(self.path)

    def check_classes(self, data_dir: Path, manifest: Manifest) -> None:
        """Check that it was trained on the classes of a data set, as far as that is known.

        Raises:
            CheckpointError: it was trained on others.
        """
        advice = "Choose the data set that it was trained on with --data_dir."
        if self.labels is not None and list(self.labels) != list(manifest.labels):
            raise CheckpointError(
                f"{self.path} was trained on the classes {list(self.labels)}, but {data_dir} has {manifest.labels}.", advice
            )
        if self.num_classes != manifest.num_classes:
            if self.num_classes == len(manifest.labels):
                advice = (
                    "It seems to have no background class, as TF-Slim's for its own data sets: shardtune cannot use such a one."
                )
            raise CheckpointError(
                f"The checkpoint {self.path} has {self.num_classes} outputs, but {data_dir} needs {manifest.num_classes} "
                f"({len(manifest.labels)} classes and the background).",
                advice,
            )


def find_checkpoint(path: Path, choice: str | None, *, ema: bool, image_size: int | None = None) -> Checkpoint | None:
    """The checkpoint at `path`, or None if there is none yet.

    Args:
        path: a run, an export, or what TensorFlow left.
        choice: see `choose_checkpoint`.
        ema: take averaged weights, where there are some.
        image_size: another than that of the training.

    Raises:
        CheckpointError: it cannot be read, or there are others than the chosen one.
    """
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path} is one checkpoint of a run.", "Give the run, and --checkpoint STEP.")
    run, notes = checkpoint_file.run_directory(path), list[str]()
    if chosen := choose_checkpoint(run, choice, notes.append):
        return _of_run(run, *chosen, notes, ema, image_size)
    if exported := find_exported(path):
        _check_that_it_has_no_others(path, "an export", choice)
        return _of_export(exported, ema, image_size)
    if prefix := tensorflow_files.newest(path):
        _check_that_it_has_no_others(path, "a checkpoint of TensorFlow", choice)
        return _of_tensorflow(prefix, ema, image_size)
    return None


def find_data_directory(path: Path) -> Path | None:
    """The data set on which the run at `path` was trained, or None if there is no run yet.

    Raises:
        DataError: it is not there, or `path` does not say which it is.
    """
    run = checkpoint_file.run_directory(path)
    if not (run / checkpoint_file.RUN_CONFIG_NAME).exists():
        if find_exported(path):
            raise DataError(f"The export {path} does not name the data set of its training.", "Name it with --data_dir.")
        if tensorflow_files.newest(path):
            raise DataError("Checkpoints of TensorFlow do not name the data set of their training.", "Name it with --data_dir.")
        return None
    data_dir = Path(str(checkpoint_file.load_run_config(run)["config"].get("data_dir")))
    if not data_dir.is_dir():
        raise DataError(
            f"The run in {run} was trained on {data_dir}, which is not there.", "Name its data set with --data_dir."
        )
    return data_dir


def no_checkpoint_error(path: Path) -> CheckpointError:
    """The error where `find_checkpoint` finds none."""
    run = checkpoint_file.run_directory(path)
    if (run / checkpoint_file.RUN_CONFIG_NAME).exists():
        return CheckpointError(f"The run in {run} has no checkpoint yet.", "Run shardtune train first.")
    if name := tensorflow_files.named_in_state(run):
        return CheckpointError(
            f"{run / tensorflow_files.STATE_NAME} names the checkpoint {name}, which is not there.",
            "Restore it from a copy, or give the path of another one.",
        )
    return CheckpointError(
        f"{run} is no run directory: it has no {checkpoint_file.RUN_CONFIG_NAME}.",
        "Give the --train_dir of a run, an export, or a checkpoint of TensorFlow: its directory, or its path without suffix.",
    )


def _of_run(run: Path, step: int, path: Path, notes: list[str], ema: bool, image_size: int | None) -> Checkpoint:
    run_config = checkpoint_file.load_run_config(run)
    labels = run_config["labels"]
    size = image_size or run_config["config"]["image_size"]
    return Checkpoint(run, path, step, size, ema, 1 + len(labels), labels, run_config, notes=tuple(notes))


def _of_export(exported: ExportedModel, ema: bool, image_size: int | None) -> Checkpoint:
    own_size, training = exported.description["image_size"], exported.description["provenance"]
    if image_size not in (None, own_size):
        raise CheckpointError(
            f"{exported.path} takes images of {own_size} pixels, not of {image_size}.", "Leave out --image_size."
        )
    if training["averaged"] and not ema:
        raise CheckpointError(
            f"{exported.path} has the averaged weights and no others.", "Leave out --no_ema, or export with --no_ema."
        )
    labels = exported.labels
    return Checkpoint(
        exported.path.parent,
        exported.path,
        training["step"],
        own_size,
        training["averaged"],
        1 + len(labels),
        labels,
        exported=exported,
        notes=(f"It was exported from step {training['step']} of the run {training['run']}.",),
    )


def _of_tensorflow(prefix: Path, ema: bool, image_size: int | None) -> Checkpoint:
    summary = weight_files.describe_tensorflow(prefix)
    step = tensorflow_files.step_in_name(prefix)  # as in 2016, whose trainer saved a global_step of 2000 in model.ckpt-1999
    size = image_size or OLD_IMAGE_SIZE
    averages = "It has no averaged weights: those of its last step are taken."
    return Checkpoint(
        prefix.parent,
        prefix,
        summary.step if step is None else step,
        size,
        ema and summary.has_averages,
        summary.num_classes,
        notes=(
            "It has no names of classes: its outputs are taken for the classes of the data set in their order.",
            *([] if image_size else [f"It does not say for which size of images it is: {size} pixels are taken."]),
            *([averages] if ema and not summary.has_averages else []),
        ),
    )


def _check_that_it_has_no_others(path: Path, kind: str, choice: str | None) -> None:
    if choice not in (None, "last"):
        raise CheckpointError(
            f"--checkpoint {choice} chooses a checkpoint of a run, but {path} is {kind}.",
            "Give the path of another one as --checkpoint_dir.",
        )
