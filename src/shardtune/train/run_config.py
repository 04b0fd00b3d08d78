"""`config.json` of a run directory: the configuration of a run, and what never changes in it."""

from dataclasses import dataclass, fields
from typing import Any

from shardtune.config import to_json_dict
from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError, UsageError
from shardtune.model import checkpoint_file
from shardtune.model.checkpoint_file import RUN_CONFIG_NAME, RUN_VERSION, load_run_config
from shardtune.model.inception import SMALLEST_SIZE_WITH_AUXILIARY_HEAD
from shardtune.runtime.files import write_json
from shardtune.train.config import TrainConfig
from shardtune.train.schedule import LearningRateSchedule, learning_rate_scale

# Flags that may change on resume: paths, how the global batch is split, intervals of logging and saving, stopping rules.
CHANGEABLE_FLAGS = {
    *("data_dir", "train_dir", "pretrained_model_checkpoint_path", "batch_size", "gradient_accumulation_steps", "on_corrupt"),
    *("input_queue_memory_factor", "save_every", "save_every_minutes", "keep_checkpoints", "log_every", "histograms"),
    *("profile", "timeline", "show_schedule", "time_limit", "hang_timeout", "allow_config_change"),
}
RENAMED_FLAGS = {"accumulate": "gradient_accumulation_steps", "save_minutes": "save_every_minutes"}  # in older run directories


@dataclass(frozen=True)
class RunInvariants:
    """What the first start decides for the whole run.

    Attributes:
        global_batch: examples of a step.
        lr_scale: factor of the learning rate of one worker.
    """

    global_batch: int
    lr_scale: float

    @staticmethod
    def from_config(config: TrainConfig, workers: int) -> "RunInvariants":
        """What a first start with `config` decides."""
        batches = workers * config.gradient_accumulation_steps
        return RunInvariants(config.batch_size * batches, learning_rate_scale(config.lr_scaling, batches))

    @staticmethod
    def from_json_dict(value: dict[str, Any]) -> "RunInvariants":
        """What config.json has; raises KeyError, TypeError, ValueError or OverflowError where it has no such numbers."""
        return RunInvariants(int(value["global_batch"]), float(value["scale"]))

    def to_json_dict(self) -> dict[str, Any]:
        return {"global_batch": self.global_batch, "scale": self.lr_scale}

    def schedule(self, config: TrainConfig, examples: int) -> LearningRateSchedule:
        """The learning rate of a run over `examples` training examples."""
        total_steps = config.total_steps(examples, self.global_batch)
        return LearningRateSchedule.from_config(config, self.lr_scale, total_steps, examples / self.global_batch)


def open_run(config: TrainConfig, manifest: Manifest, workers: int) -> RunInvariants:
    """Write the configuration of a new run, or check that a run resumes with its own. For rank 0.

    Raises:
        DataError: there is nothing to train on.
        UsageError: flags or data have changed, without permission or in a way that is impossible.
        CheckpointError: config.json cannot be read.
    """
    if not manifest.examples("train"):
        raise DataError(
            f"The training split of {config.data_dir} has no example.", "Build the data set again, with training images."
        )
    run = {
        "version": RUN_VERSION,
        "config": {**to_json_dict(config), "data_dir": str(config.data_dir.absolute())},  # other commands start elsewhere
        "workers": workers,
        **RunInvariants.from_config(config, workers).to_json_dict(),
        "labels": manifest.labels,
        "data_sha256": manifest.sha256,
    }
    path = config.train_dir / RUN_CONFIG_NAME
    if checkpoint_file.latest(config.train_dir) is None:  # another configuration would spoil nothing yet
        write_json(path, run)
    saved = load_run_config(config.train_dir)
    try:
        invariants = RunInvariants.from_json_dict(saved)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{path} does not give the global batch and scale of the run as numbers.", "Restore that file."
        ) from error
    changes = _find_changes(saved, run)
    if changes:
        _check_allowed(changes, config)
        write_json(path, {**run, "workers": saved["workers"], **invariants.to_json_dict()})
    return invariants


def _find_changes(saved: dict[str, Any], run: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The old and new values of what would change the rest of the run."""
    old, new = _comparable(saved), _comparable(run)
    return {key: (old[key], new[key]) for key in new if key not in CHANGEABLE_FLAGS and old[key] != new[key]}


def _comparable(run: dict[str, Any]) -> dict[str, Any]:
    """Flags by their present names, labels and digest of the data; a flag that did not exist yet had its default."""
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    flags = {RENAMED_FLAGS.get(name, name): value for name, value in run["config"].items()}
    return {**defaults, **flags, "labels": run["labels"], "data_sha256": run.get("data_sha256")}


def _check_allowed(changes: dict[str, tuple[Any, Any]], config: TrainConfig) -> None:
    fixed = {key for key, (old, new) in changes.items() if _never_changes(key, old, new)}
    if config.allow_config_change and not fixed:
        return
    rules = {key: "never changes in a run" if key in fixed else "may change with --allow_config_change" for key in changes}
    listed = "; ".join(f"{key} was {old}, is {new}, and {rules[key]}" for key, (old, new) in changes.items())
    advice = (
        "Give the same flags and data, or start from its weights in another --train_dir with "
        f"--pretrained_model_checkpoint_path {config.train_dir}."
        if fixed
        else "Give the same flags and data, pass --allow_config_change, or choose another --train_dir."
    )
    raise UsageError(f"{config.train_dir} holds a run with another configuration ({listed}).", advice)


def _never_changes(key: str, old: Any, new: Any) -> bool:
    """Whether a checkpoint lacks what the new value needs, or the first start has decided it."""
    if key == "labels":
        return len(old) != len(new)
    if key == "precision":
        return bool(new == "mixed_float16")  # its checkpoints contain the loss scale
    if key == "batch_norm":
        return "frozen" in (old, new)
    if key == "image_size":
        return bool((old < SMALLEST_SIZE_WITH_AUXILIARY_HEAD) != (new < SMALLEST_SIZE_WITH_AUXILIARY_HEAD))
    return key in ("optimizer", "freeze_until", "freeze_trunk", "lr_scaling")
