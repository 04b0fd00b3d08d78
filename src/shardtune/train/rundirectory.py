"""`config.json` of a run directory: what a run began with, and what stays so however often it goes on."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from shardtune.config import TrainConfig, as_json
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest
from shardtune.errors import DataError, UsageError
from shardtune.files import write_json
from shardtune.model import checkpoint
from shardtune.model.checkpoint import RUN_CONFIG_NAME, load_run_config
from shardtune.train.schedule import scale_of

# What may change on the way: where things lie, how the same global batch is gone through, how often is told and saved, and
# when to stop.
FREE = {
    *("data_dir", "train_dir", "pretrained_model_checkpoint_path", "batch_size", "accumulate", "input_queue_memory_factor"),
    *("save_every", "save_minutes", "keep_checkpoints", "log_every", "histograms", "profile", "timeline", "show_schedule"),
    *("time_limit", "hang_timeout", "allow_config_change"),
}


@dataclass(frozen=True)
class Fixed:
    """What the first start decides for good.

    Attributes:
        global_batch: examples of a step.
        scale: of the learning rate.
    """

    global_batch: int
    scale: float


def open_run(config: TrainConfig, workers: int) -> tuple[Manifest, Fixed]:
    """Read the data set's manifest, and record what the run begins with, or check that it goes on with the same. For rank 0.

    Raises:
        DataError: there is no data set, or none to train on.
        UsageError: the run began with other flags or data.
    """
    manifest = Manifest.load(config.data_dir)
    if not manifest.examples("train"):
        raise DataError(f"Training needs at least one example, but {config.data_dir} has none in its training split.")
    parts = workers * config.accumulate
    run = {
        "config": as_json(config),
        "workers": workers,
        **asdict(Fixed(config.batch_size * parts, scale_of(config.lr_scaling, parts))),
        "labels": manifest.labels,
        "data_sha256": hashlib.sha256((config.data_dir / MANIFEST_NAME).read_bytes()).hexdigest(),
    }
    path = config.train_dir / RUN_CONFIG_NAME
    if checkpoint.newest(config.train_dir) is None:  # nothing is done yet that another configuration would spoil
        write_json(path, run)
    first = load_run_config(config.train_dir)
    changed = _differences(first, run)
    if changed and not config.allow_config_change:
        raise UsageError(
            f"A run goes on with the configuration it began with, but {config.train_dir} began with another "
            f"({'; '.join(changed)}): give the same flags and data, --allow_config_change, or another --train_dir."
        )
    if changed:
        write_json(path, {**run, "workers": first["workers"], **asdict(fixed(first))})
    return manifest, fixed(first)


def fixed(run: dict[str, Any]) -> Fixed:
    """The part of a `config.json` that never changes."""
    return Fixed(run["global_batch"], run["scale"])


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What would make the rest of the run another one than it began as."""
    old, new = ({**run["config"], "labels": run["labels"], "data_sha256": run["data_sha256"]} for run in (before, now))
    return [f"{key} was {old.get(key)}, is {new[key]}" for key in new if key not in FREE and old.get(key) != new[key]]
