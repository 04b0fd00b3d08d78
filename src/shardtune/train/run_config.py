"""`config.json` of a run directory: what a run began with, and what stays so however often it goes on."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from shardtune.config import to_json_dict
from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError, UsageError
from shardtune.model import checkpoint_file
from shardtune.model.checkpoint_file import RUN_CONFIG_NAME, RUN_VERSION, load_run_config
from shardtune.model.inception import SMALLEST_SIZE_WITH_AUXILIARY_HEAD
from shardtune.runtime.files import write_json
from shardtune.train.config import TrainConfig
from shardtune.train.schedule import LearningRateSchedule, scale_of

# What may change on the way: where things lie, how the same global batch is gone through, how often is told and saved, and
# when to stop.
FREE = {
    *("data_dir", "train_dir", "pretrained_model_checkpoint_path", "batch_size", "accumulate", "on_corrupt"),
    "input_queue_memory_factor",
    *("save_every", "save_minutes", "keep_checkpoints", "log_every", "histograms", "profile", "timeline", "show_schedule"),
    *("time_limit", "hang_timeout", "allow_config_change"),
}


@dataclass(frozen=True)
class RunInvariants:
    """What the first start decides for good.

    Attributes:
        global_batch: examples of a step.
        scale: of the learning rate.
    """

    global_batch: int
    scale: float

    @staticmethod
    def by(config: TrainConfig, workers: int) -> "RunInvariants":
        """What a first start decides."""
        parts = workers * config.accumulate
        return RunInvariants(config.batch_size * parts, scale_of(config.lr_scaling, parts))

    def schedule(self, config: TrainConfig, examples: int) -> LearningRateSchedule:
        """The learning rate of a run over `examples` training examples."""
        return LearningRateSchedule.of(
            config, self.scale, config.steps(examples, self.global_batch), examples / self.global_batch
        )


def open_run(config: TrainConfig, manifest: Manifest, workers: int) -> RunInvariants:
    """Record what the run begins with, or check that it goes on with the same. For rank 0.

    Raises:
        DataError: there is nothing to train on.
        UsageError: the run began with other flags or data, which is not allowed, or cannot be.
        CheckpointError: what it began with cannot be read.
    """
    if not manifest.examples("train"):
        raise DataError(f"Training needs at least one example, but {config.data_dir} has none in its training split.")
    run = {
        "version": RUN_VERSION,
        "config": to_json_dict(config),
        "workers": workers,
        **asdict(RunInvariants.by(config, workers)),
        "labels": manifest.labels,
        "data_sha256": manifest.sha256,
    }
    path = config.train_dir / RUN_CONFIG_NAME
    if checkpoint_file.latest(config.train_dir) is None:  # nothing is done yet that another configuration would spoil
        write_json(path, run)
    first = load_run_config(config.train_dir)
    try:
        fixed = RunInvariants(int(first["global_batch"]), float(first["scale"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} tells the global batch and scale of the run, but not as numbers: restore it.") from error
    changed = _differences(first, run)
    if changed:
        _require_allowed(changed, config)
        write_json(path, {**run, "workers": first["workers"], **asdict(fixed)})
    return fixed


def _differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What would make the rest of the run another one than it began as: the values before and now.

    A flag that did not exist before had its default.
    """
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    old, new = (
        {**defaults, **run["config"], "labels": run["labels"], "data_sha256": run.get("data_sha256")} for run in (before, now)
    )
    return {key: (old[key], new[key]) for key in new if key not in FREE and old[key] != new[key]}


def _require_allowed(changed: dict[str, tuple[Any, Any]], config: TrainConfig) -> None:
    never = {key for key, (old, new) in changed.items() if _never_changes(key, old, new)}
    if config.allow_config_change and not never:
        return
    rules = {key: "never changes in a run" if key in never else "may change with --allow_config_change" for key in changed}
    told = "; ".join(f"{key} was {old}, is {new}, and {rules[key]}" for key, (old, new) in changed.items())
    advice = (
        f"go on from its weights in another --train_dir, with --pretrained_model_checkpoint_path {config.train_dir}"
        if never
        else "--allow_config_change, or another --train_dir"
    )
    raise UsageError(
        f"A run goes on with the configuration it began with, but {config.train_dir} began with another ({told}): give the "
        f"same flags and data, or {advice}."
    )


def _never_changes(key: str, old: Any, new: Any) -> bool:
    """Whether a checkpoint of before has not what is needed now, or the first start has decided it for good."""
    if key == "labels":
        return len(old) != len(new)
    if key == "precision":
        return bool(new == "mixed_float16")  # which keeps the scale of its loss
    if key == "batch_norm":
        return "frozen" in (old, new)
    if key == "image_size":
        return bool((old < SMALLEST_SIZE_WITH_AUXILIARY_HEAD) != (new < SMALLEST_SIZE_WITH_AUXILIARY_HEAD))
    return key in ("optimizer", "freeze_until", "freeze_trunk", "lr_scaling")
