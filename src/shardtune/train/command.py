"""`shardtune train`: from flags to a run that is finished, stopped or failed, and says which."""

from collections.abc import Callable
from typing import Any

from shardtune.dataset.columns import RecordIndex
from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import Split
from shardtune.input.reader import RecordReader
from shardtune.model import inception
from shardtune.model.batchnorm import BatchNormOptions
from shardtune.runtime import devices
from shardtune.runtime.frameworks import keras
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.outcome import read_outcome
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World
from shardtune.train.checkpoint_manager import LoadedCheckpoint, load_latest_valid
from shardtune.train.config import TrainConfig
from shardtune.train.consistency import check_ranks_agree
from shardtune.train.failures import run_reporting_failures
from shardtune.train.progress import NO_CALLBACKS, Callbacks, RunProgress, TrainResult
from shardtune.train.run_config import RunInvariants, open_run
from shardtune.train.run_context import RunContext
from shardtune.train.run_plan import RunPlan
from shardtune.train.schedule import render
from shardtune.train.state import TrainState
from shardtune.train.stopping import StopRequest
from shardtune.train.trainer import Trainer

READ_SPLITS: tuple[Split, ...] = ("train", "validation")  # a test split is not for training
BuildModel = Callable[[Manifest, TrainConfig, World], Any]


def build_inception(manifest: Manifest, config: TrainConfig, world: World) -> Any:
    """Build the Inception v3 of `config`, untrained."""
    return inception.build(
        manifest.num_classes,
        config.image_size,
        seed=config.seed,
        precision="float32" if config.precision == "tf32" else config.precision,
        batch_norm=BatchNormOptions(config.batch_norm, world),
        freeze_until=inception.WHOLE_TRUNK if config.freeze_trunk else config.freeze_until,
    )


def train(
    config: TrainConfig, world: World, build_model: BuildModel = build_inception, callbacks: Callbacks = NO_CALLBACKS
) -> TrainResult:
    """Train, or resume training; leaves checkpoints, metrics and an outcome in `config.train_dir`.

    Args:
        build_model: builds the network, with the outputs and layer names that `TrainStep` needs.
        callbacks: what to do between steps.

    Raises:
        StoppedError: it was asked to stop, and everything is saved.
        DataError, CheckpointError, UsageError, WorldError, TrainingError: see the modules that raise them.
    """
    if config.show_schedule:
        world.run_on_root(lambda: _show_schedule(config, world))
        return TrainResult(config.train_dir, steps=0, validations=(), last_step=None)
    stop_request = StopRequest(config.time_limit)
    threads = devices.configure_devices(world, tf32=config.precision == "tf32")
    devices.disable_graph_rewriting()
    if config.deterministic:
        devices.enable_determinism()
    keras.utils.set_random_seed(config.seed)
    data_set = world.broadcast_from_root(
        lambda: open_data_set(config.data_dir, world)
    )  # without data there is no run directory
    with exclusive_directory(config.train_dir, world):
        world.use_roll_call(config.train_dir / "logs")
        context = RunContext.open(config, world, stop_request, threads, callbacks)
        return run_reporting_failures(context, lambda: build_and_train(context, build_model, *data_set))


def build_and_train(
    context: RunContext, build_model: BuildModel, manifest: Manifest, records: dict[Split, RecordIndex]
) -> TrainResult:
    """One attempt at a run: check, restore, train."""
    config, world = context.config, context.world
    check_ranks_agree(config, world)
    if config.timeline:
        world.start_timeline(config.train_dir / "timeline.json")
    invariants = world.broadcast_from_root(lambda: open_run(config, manifest, world.size))
    readers = {
        split: RecordReader(config.data_dir, manifest, split, records[split], config.on_corrupt) for split in READ_SPLITS
    }
    plan = RunPlan.from_config(config, invariants, len(readers["train"]), len(readers["validation"]))
    state, progress = _restore(context, plan, lambda: build_model(manifest, config, world))
    if state is None:
        return TrainResult(config.train_dir, progress.step, progress.validations, last_step=None)
    trainer = Trainer(context, plan, readers, state, progress)
    # Before outcome.json says that the run is running: from then on, a stop saves it.
    world.guard.interrupts.listen(context.stop_request.record_signal)
    context.outcome.mark_running(progress.step)
    epochs = plan.total_steps * plan.global_batch / len(readers["train"])
    local_batch_size = -(-plan.global_batch // world.size)
    print_on_root(
        world,
        f"Training {len(readers['train'])} images of {len(manifest.labels)} classes for {plan.total_steps} steps of "
        f"{plan.global_batch} ({epochs:.1f} epochs), {world.size} worker(s) × {local_batch_size}, "
        f"each on {devices.describe_device(context.threads)}; {plan.schedule}."
        + ("" if "aux_logits" in state.model.output else " No auxiliary head below 107 pixels."),
    )
    if idle := devices.count_idle_gpus(world):
        print_on_root(world, f"{idle} more GPU(s) of this host are idle: launch/train.sh starts a worker for each.")
    trainer.run()
    print_on_root(world, f"Finished {trainer.progress.step} steps; checkpoints in {config.train_dir / 'checkpoints'}.")
    return TrainResult(config.train_dir, trainer.progress.step, trainer.progress.validations, trainer.last_step)


def _restore(context: RunContext, plan: RunPlan, build_model: Callable[[], Any]) -> tuple[TrainState | None, RunProgress]:
    """The network as the last checkpoint has it, or None where the run has finished; and how far the run is.

    The checkpoint is read first: building a network, for a run that has finished, would take 20 s.
    """
    config, world = context.config, context.world
    checkpoint = world.run_on_root(lambda: _load_checkpoint(context))
    progress = world.broadcast_from_root(lambda: _progress_of(checkpoint.get()))
    if plan.is_finished(progress) and world.broadcast_from_root(lambda: _has_outcome_finished(config)):
        print_on_root(world, f"This run has finished: all {progress.step} steps are in {config.train_dir}.")
        return None, progress
    state = TrainState(build_model(), config)
    state.restore_or_initialize(config, world, checkpoint)
    return state, progress


def _load_checkpoint(context: RunContext) -> LoadedCheckpoint | None:
    checkpoint = load_latest_valid(context.config.train_dir, lambda text: print_on_root(context.world, text))
    if checkpoint:
        print_on_root(context.world, f"Resuming after step {checkpoint.progress.step} from {checkpoint.path}.")
    return checkpoint


def _progress_of(checkpoint: LoadedCheckpoint | None) -> RunProgress:
    return checkpoint.progress if checkpoint else RunProgress()


def _has_outcome_finished(config: TrainConfig) -> bool:
    return read_outcome(config.train_dir).get("outcome") == "finished"


def _show_schedule(config: TrainConfig, world: World) -> None:
    manifest, _ = open_data_set(config.data_dir, world)
    invariants, examples = RunInvariants.from_config(config, world.size), manifest.examples("train")
    print_on_root(world, render(invariants.schedule(config, examples), examples / invariants.global_batch))
