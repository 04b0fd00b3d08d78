"""`shardtune train`: the whole run, from flags to the last checkpoint."""

import hashlib
from typing import Any

import google_crc32c
import numpy as np
import tensorflow as tf

from shardtune import devices
from shardtune.config import TrainConfig, as_json
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest
from shardtune.errors import DataError, UsageError, WorldError
from shardtune.files import write_json
from shardtune.input.pipeline import training_batches
from shardtune.input.reader import RecordReader
from shardtune.model import checkpoint, inception, pretrained
from shardtune.model.averages import Averages
from shardtune.model.checkpoint import RUN_CONFIG_NAME, load_run_config
from shardtune.progress import Ticker, say
from shardtune.train import metrics
from shardtune.train.loss_scale import LossScale
from shardtune.train.schedule import Schedule
from shardtune.train.step import average_moving_statistics, make_optimizer, make_step
from shardtune.world import World


def train(config: TrainConfig, world: World) -> None:
    """Train, or go on with training, and leave checkpoints and metrics in `config.train_dir`.

    Raises:
        DataError, CheckpointError, UsageError, WorldError: see the modules that raise them.
    """
    threads = devices.claim(world)
    manifest = world.from_root(lambda: _prepare(config, world))
    reader = RecordReader(config.data_dir, manifest, "train")
    global_batch = config.batch_size * world.size
    steps = config.steps(len(reader), world.size)
    schedule = Schedule.of(config.initial_learning_rate, world.size, steps, len(reader) / global_batch)

    model = inception.build(
        manifest.num_classes,
        config.image_size,
        seed=config.seed,
        precision=config.precision,
        batch_norm=config.batch_norm,
        batch_norm_decay=config.batch_norm_decay,
        world=world,
        freeze_until=inception.WHOLE_TRUNK if config.freeze_trunk else config.freeze_until,
    )
    optimizer = make_optimizer(config.optimizer, model)
    changing = inception.changing_variables(model)
    averages = Averages(changing, config.moving_average_decay)
    loss_scale = LossScale() if config.precision == "mixed_float16" else None
    variables = state(model, optimizer, averages, loss_scale)
    first_step = world.from_root(lambda: _restore(config, world, model, variables, averages))
    for variable, value in zip(variables.values(), world.broadcast([v.numpy() for v in variables.values()]), strict=True):
        variable.assign(value)

    require_equal(world, variables)
    if first_step >= steps:
        say(world, f"This run has finished: all {steps} steps are in {config.train_dir}.")
        return

    say(
        world,
        f"Training {len(reader)} images of {len(manifest.labels)} classes for {steps} steps of {global_batch} "
        f"({steps * global_batch / len(reader):.1f} epochs), {world.size} worker(s) × {config.batch_size}; learning rate "
        f"{schedule.base:g} to {schedule.peak:g} in {schedule.warmup} steps, then a cosine to 0."
        + ("" if "aux_logits" in model.output else " No auxiliary head below 107 pixels."),
    )
    batches = training_batches(
        reader,
        world,
        batch_size=config.batch_size,
        image_size=config.image_size,
        augmentation=config.augment,
        seed=config.seed,
        first_step=first_step,
        threads=threads,
    )
    run_step = make_step(model, optimizer, averages, loss_scale, world, batch_size=config.batch_size, seed=config.seed)
    with Ticker(world, "steps", steps, start=first_step, weight=global_batch, rate_unit="images") as ticker:
        for step, (images, labels) in zip(range(first_step, steps), batches, strict=False):
            rate = schedule.rate(step)
            loss = run_step(tf.constant(step, tf.int64), images, labels, tf.constant(rate, tf.float32))
            done = step + 1
            note = None
            # Reading the loss waits for the device, so it is read only when it is told.
            if done % config.log_every == 0 or done == steps:
                note = f"loss {float(loss):.3f}"
                _log(
                    config, world, {"step": done, "loss": float(loss), "learning_rate": rate, "images_per_second": ticker.rate}
                )
            if step == first_step:
                ticker.skip(1)  # it paid for compiling
            else:
                ticker.advance(note)
            if done % config.save_every == 0 or done == steps:
                average_moving_statistics({**changing, **averages.variables}, world)
                if world.is_root:
                    checkpoint.save(config.train_dir, done, {name: v.numpy() for name, v in variables.items()})
    require_equal(world, variables)
    if world.is_root:
        outcome = {"outcome": "finished", "step": steps, "images_per_second": round(ticker.rate, 2)}
        write_json(config.train_dir / "outcome.json", outcome)
    say(world, f"Finished {steps} steps; checkpoints in {config.train_dir / 'checkpoints'}.")


def _log(config: TrainConfig, world: World, values: dict[str, float]) -> None:
    if world.is_root:
        metrics.append(config.train_dir / "metrics.jsonl", values)


def state(model: Any, optimizer: Any, averages: Averages, loss_scale: LossScale | None) -> dict[str, Any]:
    """All that a run must keep: the network's variables by their 2016 names, their averaged twins, and what is beneath
    `optimizer/` and `loss_scale/`."""
    # By position: Keras's own names carry a counter of all layers that the process ever made.
    slots = {f"optimizer/{position:04d}": variable for position, variable in enumerate(optimizer.variables)}
    scale = loss_scale.variables if loss_scale else {}
    return {**inception.named_variables(model), **averages.variables, **slots, **scale}


def require_equal(world: World, variables: dict[str, Any]) -> None:
    """Compare checksums of all variables over all ranks.

    Raises:
        WorldError: a variable differs; it is named.
    """
    mine = [google_crc32c.value(np.ascontiguousarray(variable.numpy()).tobytes()) for variable in variables.values()]
    for rank, theirs in enumerate(world.gather(mine)):
        differing = [name for name, a, b in zip(variables, mine, theirs, strict=True) if a != b]
        if differing:
            raise WorldError(
                f"All ranks hold equal weights, but {differing[0]} differs between rank {world.rank} and rank {rank}: start "
                f"the run again from its last checkpoint."
            )


def _prepare(config: TrainConfig, world: World) -> Manifest:
    """Read the manifest, and record the configuration, or check that the run began with the same one. For rank 0."""
    manifest = Manifest.load(config.data_dir)
    if not manifest.examples("train"):
        raise DataError(f"Training needs at least one example, but {config.data_dir} has none in its training split.")
    run = {
        "config": as_json(config),
        "workers": world.size,
        "labels": manifest.labels,
        "data_sha256": hashlib.sha256((config.data_dir / MANIFEST_NAME).read_bytes()).hexdigest(),
    }
    config.train_dir.mkdir(parents=True, exist_ok=True)
    if checkpoint.newest(config.train_dir) is None:  # nothing is done yet that another configuration would spoil
        write_json(config.train_dir / RUN_CONFIG_NAME, run)
    changed = _differences(load_run_config(config.train_dir), run)
    if changed:
        raise UsageError(
            f"A run goes on with the configuration it began with, but {config.train_dir} began with another "
            f"({'; '.join(changed)}): give the same flags, workers and data, or another --train_dir."
        )
    return manifest


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What would make the rest of the run another one than it began as. Folders may move, and reports be more frequent."""
    free = {"data_dir", "train_dir", "pretrained_model_checkpoint_path", "save_every", "log_every"}
    old, new = ({**run["config"], **{k: v for k, v in run.items() if k != "config"}} for run in (before, now))
    return [f"{key} was {old.get(key)}, is {new[key]}" for key in new if key not in free and old.get(key) != new[key]]


def _restore(config: TrainConfig, world: World, model: Any, variables: dict[str, Any], averages: Averages) -> int:
    """Load the run's newest checkpoint, or else the pretrained one, and return the steps done. For rank 0."""
    newest = checkpoint.newest(config.train_dir)
    if newest:
        step, path = newest
        checkpoint.assign(variables, checkpoint.load(path), path)
        say(world, f"Going on after step {step} from {path}.")
        return step
    if config.pretrained_model_checkpoint_path:
        path = config.pretrained_model_checkpoint_path
        say(world, str(pretrained.restore(model, path, fine_tune=config.fine_tune, averaged=config.pretrained_ema)))
    averages.reset()
    return 0
