"""The commands as functions, which run the same lines. Each is for all processes that a launcher started, and returns the same
on all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shardtune.api.job import job
from shardtune.builder.config import BuildConfig
from shardtune.dataset.manifest import Manifest
from shardtune.evaluate.config import EvalConfig
from shardtune.export.config import ExportConfig
from shardtune.export.facts import ExportResult
from shardtune.report.config import ReportConfig
from shardtune.train.config import TrainConfig
from shardtune.train.progress import NO_CALLBACKS, Callbacks, StepMetrics, TrainResult, Validation


def build(config: BuildConfig) -> Manifest:
    """Turn labelled images into a data set, as `shardtune build` does.

    What is finished already is not done again.

    Returns:
        What is in `config.output_directory`: classes, splits, shards, digests.

    Raises:
        DataError: images or labels are wrong, or more than `max_rejects` images cannot be stored.
        UsageError: `dry_run` is set.
        WorldError: another job uses the output directory, or the processes of this one do not see the same files.
    """
    from shardtune.builder import builder

    with job("mpi", config) as world:
        return builder.build(config, world)


def train(
    config: TrainConfig,
    *,
    on_step: Callable[[int, StepMetrics], object] = NO_CALLBACKS.step,
    on_epoch: Callable[[int], object] = NO_CALLBACKS.epoch,
    on_validation: Callable[[Validation], object] = NO_CALLBACKS.validation,
    handle_signals: bool = False,
) -> TrainResult:
    """Fine-tune Inception v3, as `shardtune train` does; resume the run that is in `config.train_dir`.

    Callbacks are called on every process of a job, with the same values, except `allreduce_seconds`. What one raises ends the
    run, and is raised here; the same call resumes it from its last checkpoint. The generators of Python, NumPy and TensorFlow
    are seeded with `config.seed`.

    Args:
        on_step: called with the number of steps taken and the metrics of the last of them.
        on_epoch: called with the number of passes over the training split, when one has ended.
        on_validation: called with each validation of the averaged weights.
        handle_signals: SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 stop the run after a step, with a checkpoint; a second one of a
            kind ends the process with status 75. Before the first step SIGTERM and SIGINT raise KeyboardInterrupt. For the main
            thread. Without it, signals do what they did before.

    Raises:
        StoppedError: signals or `time_limit` stopped the run. The same call resumes it.
        TrainingError: the loss diverged, or the weights of two processes differ.
        DataError, CheckpointError, UsageError, WorldError: what `config` names is not there, damaged, or does not fit.
    """
    from shardtune.runtime import backends, devices
    from shardtune.train import command

    if config.timeline:
        backends.enable_timeline()
    with job("horovod", config, handle_signals=handle_signals) as world, devices.settings_kept():
        return command.train(config, world, callbacks=Callbacks(on_step, on_epoch, on_validation))


def evaluate(config: EvalConfig) -> dict[str, Any]:
    """Measure a model on every example of a split, as `shardtune eval` does.

    With `run_once=False` it evaluates each new checkpoint, and never returns.

    Returns:
        What is in `eval.json`: `precision_at_1`, `recall_at_5`, figures of each class, and more.

    Raises:
        CheckpointError: there is no model, or one of other classes.
        DataError: the split is empty, or a record of it is damaged.
    """
    from shardtune.evaluate import command
    from shardtune.runtime import devices

    with job("horovod", config) as world, devices.settings_kept():
        return command.evaluate(config, world)


def export(config: ExportConfig) -> ExportResult:
    """Write a trained model for TensorFlow, Keras, ONNX or LiteRT and check it, as `shardtune export` does.

    It works on cores: a process that has used a GPU cannot export, and one that has exported uses no GPU afterwards.

    Raises:
        ExportError: what was written does not compute what the checkpoint does; nothing is left of it.
        CheckpointError, DataError: there is no checkpoint, no data set, or something is in `output_directory`.
        UsageError: this process has used a GPU.
    """
    from shardtune.export import command

    with job("horovod", config) as world:
        return command.export(config, world)


def report(config: ReportConfig) -> Path:
    """Write one HTML page of one or several runs, as `shardtune report` does.

    Returns:
        The path of the page.

    Raises:
        CheckpointError: a directory is no run.
        DataError: what `eval_dir` or `data_dir` names cannot be read.
    """
    from shardtune.report import command

    with job("horovod", config) as world:
        return world.broadcast_from_root(lambda: command.report(config, world))
