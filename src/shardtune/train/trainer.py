"""The steps of a run, and what happens between them."""

import logging
import math
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Literal

from shardtune.dataset.splits import Split
from shardtune.errors import StoppedError, TrainingError
from shardtune.evaluate.evaluator import Evaluator
from shardtune.evaluate.network import InceptionNetwork
from shardtune.input.pipeline import InputOptions, evaluation_batches
from shardtune.input.reader import RecordReader
from shardtune.runtime.devices import device
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.train.checkpoint_manager import CheckpointManager, NullCheckpointManager
from shardtune.train.consistency import check_equal_weights
from shardtune.train.metrics import MetricsWriter, NullMetricsWriter
from shardtune.train.progress import RunProgress, StepMetrics
from shardtune.train.run_context import Phase, RunContext
from shardtune.train.run_plan import RunPlan
from shardtune.train.state import TrainState
from shardtune.train.step_runner import StepRunner, steps_ahead

WEIGHT_CHECK_STEPS = 100  # between comparisons of the ranks' weights
MAX_LOSS = 1e3  # a higher loss has logits that differ by more than a thousand
EVALUATION_BATCH = 50  # research/inception's


class Trainer:
    """One attempt at a run, from its last checkpoint to its end.

    Args:
        readers: of the training split, and of the validation split, which may be empty.
        state: restored, equal on all ranks.
        progress: how far the run is.

    Attributes:
        progress: how far the run is now.
        last_step: metrics of the last step that is finished.
    """

    def __init__(
        self,
        context: RunContext,
        plan: RunPlan,
        readers: Mapping[Split, RecordReader],
        state: TrainState,
        progress: RunProgress,
    ) -> None:
        self._context, self._config, self._world = context, context.config, context.world
        self._plan, self._readers, self._state = plan, readers, state
        self.progress = progress
        self.last_step: StepMetrics | None = None
        self._first_step = progress.step
        self._steps = StepRunner(context, plan, readers["train"], state, progress.step)
        self._evaluator = Evaluator(InceptionNetwork(state.model, min(EVALUATION_BATCH, len(readers["validation"]))))
        self._checkpoints: CheckpointManager | NullCheckpointManager = NullCheckpointManager()
        self._metrics: MetricsWriter | NullMetricsWriter = NullMetricsWriter()
        if self._world.is_root:
            self._checkpoints = CheckpointManager(self._config.train_dir, self._config.keep_checkpoints, context.log)
            self._metrics = MetricsWriter(self._config.train_dir, progress.step)

    def run(self) -> None:
        """Take the steps that are left.

        Raises:
            StoppedError: somebody asked a rank to stop; all ranks have stopped, and everything is saved.
            TrainingError: the loss diverged, or weights differ between ranks.
        """
        self._world.guard.set_timeout(self._config.hang_timeout)
        try:
            # Make up for a validation that the last stop left out.
            if self._plan.is_validation_due(self.progress):
                is_validated = self._validate(None)
                self._save()
                if not is_validated:
                    self._stop()
                self._context.callbacks.validation(self.progress.validations[-1])
            with self._reporter() as reporter:
                while not self._is_finished:
                    # Start a step.
                    images = self._steps.start(self.progress.step)
                    self.progress = self.progress.after_step()
                    # Finish those before it, and all where something depends on them.
                    is_validation_due = self._plan.is_validation_due(self.progress)
                    is_stopping = self._finish(reporter, 0 if is_validation_due or self._is_finished else steps_ahead())
                    # Validate the averaged weights, unless a rank is asked to stop.
                    is_validated = is_validation_due and not is_stopping and self._validate(images)
                    is_stopping = is_stopping or (is_validation_due and not is_validated)
                    # Save a checkpoint where one is due.
                    if is_stopping or self._plan.is_checkpoint_due(self.progress, self._checkpoints.seconds_since_save):
                        self._save()
                    if is_validated:
                        self._context.callbacks.validation(self.progress.validations[-1])
                    # Stop on all ranks after the same step.
                    if is_stopping and not self._is_finished:
                        self._stop()
            # Finish.
            check_equal_weights(self._world, self._state.weights)
            self._write_outcome("finished", images_per_second=round(reporter.rate, 2))
        finally:
            self._steps.close()
            self._checkpoints.wait()
            self._metrics.close()

    @property
    def _is_finished(self) -> bool:
        return self._plan.is_finished(self.progress)

    def _heartbeat(self, phase: Phase, *, compiles: bool = False) -> None:
        self._context.heartbeat(phase, self.progress.step, compiles=compiles)

    def _finish(self, reporter: ProgressReporter, ahead: int) -> bool:
        """Finish, check and report all steps but the last `ahead`. If a rank is asked to stop, finish all, and return True."""
        is_stopping = False
        while finished := self._steps.finish_next(0 if is_stopping else ahead):
            self._check(*finished)
            self._report(*finished, reporter)
            self._call_back(*finished)
            is_stopping = is_stopping or finished[1].stop_requests > 0
        return is_stopping

    def _call_back(self, step: int, metrics: StepMetrics) -> None:
        self.last_step = metrics
        self._context.callbacks.step(step, metrics)
        before, now = ((steps * self._plan.global_batch) // len(self._readers["train"]) for steps in (step - 1, step))
        for epoch in range(before, now):
            self._context.callbacks.epoch(epoch + 1)

    def _check(self, step: int, metrics: StepMetrics) -> None:
        """End the job, on all ranks, if the loss diverged or weights differ."""
        if _has_diverged(metrics):
            self._world.run_on_root(lambda: _raise_diverged(step, metrics))
        if step % WEIGHT_CHECK_STEPS == 0:
            check_equal_weights(self._world, self._state.weights)

    def _report(self, step: int, metrics: StepMetrics, reporter: ProgressReporter) -> None:
        """Report a step to metrics.jsonl, to this rank's log and to the terminal."""
        status = None
        if step % self._config.log_every == 0 or step == self._plan.total_steps:
            rate, times = self._plan.schedule.rate(step - 1), self._steps.timer.summary()
            self._steps.timer.restart()
            self._metrics.write_scalars(
                step,
                loss=metrics.loss,
                learning_rate=rate,
                gradient_norm=metrics.gradient_norm,
                images_per_second=reporter.rate,
                **times,
            )
            shares = ", ".join(f"{name.removesuffix('_share')} {times[name]:.0%}" for name in times if name.endswith("_share"))
            status = f"loss {metrics.loss:.3f}, learning rate {rate:.3g}, {times['step_seconds']:.3g} s a step ({shares})"
            self._context.log.write(f"step {step}: {status}")
        if step == self._first_step + 1:  # which compiled
            reporter.advance_untimed(1, status)
            self._steps.timer.restart()
        else:
            reporter.advance(status)

    def _validate(self, images: Any) -> bool:
        """Validate, unless a rank is asked to stop meanwhile: then all ranks leave it out, and False is returned.

        Args:
            images: a batch whose activations become histograms, or None.
        """
        self._heartbeat(Phase.VALIDATING, compiles=True)
        options = InputOptions(self._config.image_size, self._context.threads, device=device())
        reader = self._readers["validation"]
        batches = evaluation_batches(reader, self._world, options, batch_size=EVALUATION_BATCH, examples=len(reader))
        with self._state.averages.applied(), closing(batches):
            counts = self._evaluator.count(batches, self._world, should_stop=lambda: self._context.stop_request.is_made)
        if counts is None:
            return False
        self.progress = self.progress.after_validation(counts.precision_at_1)
        step = self.progress.step
        print_on_root(self._world, f"step {step}: {counts}")
        self._metrics.write_scalars(
            step, validation_precision_at_1=counts.precision_at_1, validation_recall_at_5=counts.recall_at_5
        )
        if self._config.histograms:
            self._metrics.write_histograms(step, lambda: {**self._state.weights, **self._activations(images)})
        return True

    def _activations(self, images: Any) -> dict[str, Any]:
        return {} if images is None else dict(self._state.model(images, training=False))

    def _save(self) -> None:
        """Save a checkpoint, unless a step diverged: the checkpoint before it stays the last."""
        self._heartbeat(Phase.SAVING)
        if not any(_has_diverged(metrics) for metrics in self._steps.wait()):
            self._checkpoints.save(self.progress, self._state.snapshot)

    def _stop(self) -> None:
        """Leave on every rank at once: a launcher kills the others when the first rank leaves."""
        by_rank = enumerate(self._world.allgather(self._context.stop_request.reason))
        reasons = ", ".join(f"{reason} on rank {rank}" for rank, reason in by_rank if reason)
        # When one rank has left, launchers send SIGTERM to those that are about to leave.
        self._world.guard.interrupts.ignore()
        self._write_outcome("stopped", reason=reasons)
        raise StoppedError(f"Stopped after step {self.progress.step} by {reasons}.", "Run the same command again to resume.")

    def _write_outcome(self, outcome: Literal["finished", "stopped"], **fields: Any) -> None:
        """Write the outcome when all checkpoints are durable; no rank returns earlier."""
        self._heartbeat(Phase.SAVING)
        replaced = sorted(set().union(*self._world.allgather(self._steps.replaced)))
        if replaced:
            first = self._readers["train"].describe_record(replaced[0])
            text = f"{len(replaced)} corrupt record(s) were replaced by others: the first is {first}."
            print_on_root(self._world, text, level=logging.WARNING)
        self._checkpoints.wait()
        self._context.outcome.mark_ended(outcome, step=self.progress.step, corrupt_records=len(replaced), **fields)
        self._world.barrier()

    def _reporter(self) -> ProgressReporter:
        plan, step = self._plan, self.progress.step
        return ProgressReporter(
            self._world, "steps", plan.total_steps, start=step, items_per_count=plan.global_batch, rate_unit="images"
        )


def _has_diverged(metrics: StepMetrics) -> bool:
    return not (math.isfinite(metrics.gradient_norm) and metrics.loss < MAX_LOSS)


def _raise_diverged(step: int, metrics: StepMetrics) -> None:
    raise TrainingError(
        f"Training diverged at step {step}: the loss is {metrics.loss:g} (limit {MAX_LOSS:g}) and the gradient norm "
        f"{metrics.gradient_norm:g}.",
        "The last checkpoint is from before. Start again with a lower --initial_learning_rate, with --clip_norm, or with "
        "--precision float32 instead of mixed_float16.",
    )
