"""`shardtune train`: from flags to a run that is finished, stopped or failed, and says which."""

import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import SPLITS, Manifest, RecordIndex, Split
from shardtune.errors import ReportedElsewhereError, ShardtuneError, StoppedError, TrainingError
from shardtune.input.reader import RecordReader
from shardtune.model import inception
from shardtune.model.batchnorm import BatchNormOptions
from shardtune.runtime import devices
from shardtune.runtime.frameworks import keras, tf
from shardtune.runtime.guard import Tell
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.consistency import check_ranks_agree, versions
from shardtune.train.ranklog import RankLog
from shardtune.train.run_config import RunInvariants, open_run
from shardtune.train.schedule import render
from shardtune.train.state import TrainState
from shardtune.train.stopping import OutcomeFile, StopRequest
from shardtune.train.trainer import RunContext, Trainer

BuildModel = Callable[[Manifest, TrainConfig, World], Any]
LAST_LINES = 20


def build_inception(manifest: Manifest, config: TrainConfig, world: World) -> Any:
    """Inception v3 as `config` asks for it, untrained."""
    return inception.build(
        manifest.num_classes,
        config.image_size,
        seed=config.seed,
        precision="float32" if config.precision == "tf32" else config.precision,
        batch_norm=BatchNormOptions(config.batch_norm, config.batch_norm_decay, world),
        freeze_until=inception.WHOLE_TRUNK if config.freeze_trunk else config.freeze_until,
    )


def train(config: TrainConfig, world: World, build_model: BuildModel = build_inception) -> None:
    """Train, or go on with training, and leave checkpoints, metrics and an outcome in `config.train_dir`.

    Args:
        build_model: makes the network, with the outputs and layer names that `Step` asks for.

    Raises:
        StoppedError: it was asked to stop, and all is saved.
        DataError, CheckpointError, UsageError, WorldError, TrainingError: see the modules that raise them.
    """
    if config.show_schedule:
        world.run_on_root(lambda: _show_schedule(config, world))
        return
    request = StopRequest(config.time_limit)
    threads = devices.configure_devices(world, tf32=config.precision == "tf32")
    devices.disable_graph_rewriting()
    if config.deterministic:
        devices.enable_determinism()
    keras.utils.set_random_seed(config.seed)
    data = world.broadcast_from_root(lambda: open_data_set(config.data_dir, world))  # where there are none, no run is begun
    with exclusive_directory(config.train_dir, world):
        world.use_roll_call(config.train_dir / "logs")
        _attempt(config, world, request, lambda attempt: _run(config, world, build_model, threads, attempt, *data))


def _attempt(config: TrainConfig, world: World, request: StopRequest, run: Callable[[RunContext], None]) -> None:
    """Run, and remember how it ended."""
    log, outcome = RankLog(config.train_dir, world.rank), OutcomeFile(config.train_dir, world.rank)
    outcome.attempt = world.broadcast(outcome.attempt) + 1
    log.write(f"Attempt {outcome.attempt}, {world.name}: {versions()}")

    def tell(sentence: str, late: list[int]) -> None:
        sentence = f"{sentence}; see the logs of all ranks in {log.path.parent}."
        outcome.fail(error=sentence)
        for rank in late:
            _show_last_lines(RankLog(config.train_dir, rank))
        sys.stderr.write(f"shardtune: {sentence}\n")
        sys.stderr.flush()

    world.guard.report_to(log.path, tell)
    try:
        try:
            run(RunContext(request, outcome, log))
        except tf.errors.OpError as error:
            if "Horovod" not in str(error):
                raise
            log.write("".join(traceback.format_exception(error)))
            raise _cause(error, world, outcome, tell) from error
    except (StoppedError, ReportedElsewhereError):
        raise
    except Exception as error:
        if not isinstance(error, ShardtuneError):
            _show_last_lines(log)
        log.write("".join(traceback.format_exception(error)))
        outcome.fail(error=str(error), rank=world.rank)
        raise


def _cause(error: Any, world: World, outcome: OutcomeFile, tell: Tell) -> ShardtuneError:
    """Why an operation over all workers failed here: because one of them is lost, or for its own reason. One rank says it."""
    silent, sentence, speaks = world.guard.find_silent_ranks()
    if silent and speaks and not outcome.has_failed:
        tell(f"A worker is lost: {sentence}", silent)
    if silent or not speaks:
        return ReportedElsewhereError("One rank has said why.")
    first_line = re.sub(r"^{{.*?}} ", "", (error.message or "").split("\n")[0])  # without the name of a graph's node
    return TrainingError(
        f"Operations over all workers succeed while all of them run, but one failed ({first_line}): see the logs of all ranks."
    )


def _run(
    config: TrainConfig,
    world: World,
    build_model: BuildModel,
    threads: int,
    attempt: RunContext,
    manifest: Manifest,
    records: dict[Split, RecordIndex],
) -> None:
    check_ranks_agree(config, world)
    if config.timeline:
        world.start_timeline(config.train_dir / "timeline.json")
    fixed = world.broadcast_from_root(lambda: open_run(config, manifest, world.size))
    readers = {split: RecordReader(config.data_dir, manifest, split, records[split], config.on_corrupt) for split in SPLITS}
    state = TrainState(build_model(manifest, config, world), config)
    trainer = Trainer(config, world, attempt, fixed, state, readers, threads)
    if trainer.ended and world.broadcast_from_root(lambda: attempt.outcome.read().get("outcome") == "finished"):
        print_on_root(world, f"This run has finished: all {trainer.done} steps are in {config.train_dir}.")
        return
    world.guard.interrupts.listen(attempt.request.note)  # before the run is said to be running: a stop then saves it
    attempt.outcome.begin(trainer.done)
    epochs = trainer.schedule.steps * fixed.global_batch / len(readers["train"])
    each = -(-fixed.global_batch // world.size)
    print_on_root(
        world,
        f"Training {len(readers['train'])} images of {len(manifest.labels)} classes for {trainer.schedule.steps} steps of "
        f"{fixed.global_batch} ({epochs:.1f} epochs), {world.size} worker(s) × {each}; {trainer.schedule}."
        + ("" if "aux_logits" in state.model.output else " No auxiliary head below 107 pixels."),
    )
    trainer.run()
    print_on_root(world, f"Finished {trainer.done} steps; checkpoints in {config.train_dir / 'checkpoints'}.")


def _show_last_lines(log: RankLog) -> None:
    """What a rank did before something unexpected happened to it."""
    sys.stderr.write("".join(f"{log.path.name}: {line}\n" for line in log.tail(LAST_LINES)))


def _show_schedule(config: TrainConfig, world: World) -> None:
    manifest, _ = open_data_set(config.data_dir, world)
    fixed, examples = RunInvariants.by(config, world.size), manifest.examples("train")
    print_on_root(world, render(fixed.schedule(config, examples), examples / fixed.global_batch))
