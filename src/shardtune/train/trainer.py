"""The steps of a run, and what happens between them."""

import math
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any, Literal

from shardtune.dataset.manifest import Split
from shardtune.errors import StoppedError, TrainingError
from shardtune.evaluate.evaluator import Evaluator
from shardtune.input.pipeline import QUEUED_RECORDS, InputOptions, evaluation_batches, training_batches
from shardtune.input.reader import RecordReader
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.train.checkpoint_manager import CheckpointManager, NullCheckpointManager
from shardtune.train.consistency import check_equal_weights
from shardtune.train.metrics import MetricsWriter, NullMetricsWriter, StepTimer
from shardtune.train.progress import RunProgress
from shardtune.train.run_context import Phase, RunContext
from shardtune.train.run_plan import RunPlan
from shardtune.train.state import TrainState
from shardtune.train.step import StepMetrics, TrainStep
from shardtune.train.trace import Trace

WEIGHT_CHECK_STEPS = 100  # between comparisons of the ranks' weights
MAX_LOSS = 1e3  # a higher loss has logits that differ by more than a thousand
EVALUATION_BATCH = 50  # research/inception's

Batches = Generator[tuple[Any, Any, set[int]], None, None]


class Trainer:
    """One attempt at a run, from its last checkpoint to its end.

    Args:
        readers: of the training split, and of the validation split, which may be empty.
        state: restored, equal on all ranks.
        progress: how far the run is.

    Attributes:
        progress: how far the run is now.
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
        self._first_step = progress.step
        self._train_step = TrainStep(state, self._world, self._config, plan.global_batch)
        self._evaluator = Evaluator(state.model)
        self._replaced: set[int] = set()  # corrupt records
        self._timer = StepTimer()
        self._trace = Trace(self._config, self._world, plan.total_steps, progress.step)
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
            with self._reporter() as reporter, closing(self._training_batches()) as batches:
                while not self._is_finished:
                    # Take a step, and end the job if the loss diverged or weights differ.
                    images, metrics = self._take_step(batches)
                    # Report to metrics.jsonl, to this rank's log and to the terminal.
                    self._report(metrics, reporter)
                    # Validate the averaged weights, unless a rank is asked to stop.
                    is_stopping = metrics.stop_requests > 0
                    if not is_stopping and self._plan.is_validation_due(self.progress):
                        is_stopping = not self._validate(images)
                    # Save a checkpoint where one is due.
                    if is_stopping or self._plan.is_checkpoint_due(self.progress, self._checkpoints.seconds_since_save):
                        self._save()
                    # Stop on all ranks after the same step.
                    if is_stopping and not self._is_finished:
                        self._stop()
            # Finish.
            check_equal_weights(self._world, self._state.weights)
            self._write_outcome("finished", images_per_second=round(reporter.rate, 2))
        finally:
            self._trace.stop()
            self._checkpoints.wait()
            self._metrics.close()

    @property
    def _is_finished(self) -> bool:
        return self._plan.is_finished(self.progress)

    def _heartbeat(self, phase: Phase, *, compiles: bool = False) -> None:
        self._context.heartbeat(phase, self.progress.step, compiles=compiles)

    def _take_step(self, batches: Batches) -> tuple[Any, StepMetrics]:
        """Train on the next global batch; returns this rank's images of it and what was measured."""
        step = self.progress.step
        compiles = step == self._first_step
        self._trace.before_step(step)
        self._heartbeat(Phase.WAITING_FOR_INPUT, compiles=compiles)
        started = time.monotonic()
        images, labels, corrupt = next(batches)
        input_seconds = time.monotonic() - started
        self._heartbeat(Phase.IN_A_STEP, compiles=compiles)
        rate = self._plan.schedule.rate(step)
        metrics = self._train_step(images, labels, step, rate, self._context.stop_request.is_made)
        self._trace.after_step(step)
        self.progress = self.progress.after_step()
        self._replaced |= corrupt
        self._check(metrics)
        self._timer.add(time.monotonic() - started, input_seconds, metrics.allreduce_seconds)
        return images, metrics

    def _check(self, metrics: StepMetrics) -> None:
        """Nothing is saved after a step that diverged: the checkpoint before it stays the last."""
        if not (math.isfinite(metrics.gradient_norm) and metrics.loss < MAX_LOSS):
            self._world.run_on_root(lambda: _raise_diverged(self.progress.step, metrics))
        if self.progress.step % WEIGHT_CHECK_STEPS == 0:
            check_equal_weights(self._world, self._state.weights)

    def _report(self, metrics: StepMetrics, reporter: ProgressReporter) -> None:
        step, status = self.progress.step, None
        if step % self._config.log_every == 0 or step == self._plan.total_steps:
            rate, times, self._timer = self._plan.schedule.rate(step - 1), self._timer.summary(), StepTimer()
            self._metrics.write_scalars(
                step,
                loss=metrics.loss,
                learning_rate=rate,
                gradient_norm=metrics.gradient_norm,
                images_per_second=reporter.rate,
                **times,
            )
            status = (
                f"loss {metrics.loss:.3f}, learning rate {rate:.3g}, {times['step_seconds']:.3g} s a step (input "
                f"{times['input_share']:.0%}, communication {times['communication_share']:.0%})"
            )
            self._context.log.write(f"step {step}: {status}")
        if step == self._first_step + 1:  # which compiled
            reporter.advance_untimed(1, status)
            self._timer = StepTimer()
        else:
            reporter.advance(status)

    def _validate(self, images: Any) -> bool:
        """Validate, unless a rank is asked to stop meanwhile: then all ranks leave it out, and False is returned.

        Args:
            images: a batch whose activations become histograms, or None.
        """
        self._heartbeat(Phase.VALIDATING, compiles=True)
        batches = evaluation_batches(
            self._readers["validation"],
            self._world,
            batch_size=EVALUATION_BATCH,
            image_size=self._config.image_size,
            examples=len(self._readers["validation"]),
            num_threads=self._context.threads,
        )
        with self._state.averages.applied(), closing(batches):
            counts = self._evaluator.run(batches, self._world, should_stop=lambda: self._context.stop_request.is_made)
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
        self._heartbeat(Phase.SAVING)
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
        replaced = sorted(set().union(*self._world.allgather(self._replaced)))
        if replaced:
            first = self._readers["train"].describe_record(replaced[0])
            print_on_root(self._world, f"{len(replaced)} corrupt record(s) were replaced by others: the first is {first}.")
        self._checkpoints.wait()
        self._context.outcome.mark_ended(outcome, step=self.progress.step, corrupt_records=len(replaced), **fields)
        self._world.barrier()

    def _training_batches(self) -> Batches:
        options = InputOptions(
            image_size=self._config.image_size,
            num_threads=self._context.threads,
            augmentation=self._config.augment,
            seed=self._config.seed,
            max_queued_records=QUEUED_RECORDS * self._config.input_queue_memory_factor,
        )
        return training_batches(
            self._readers["train"],
            self._world,
            options,
            global_batch_size=self._plan.global_batch,
            first_step=self.progress.step,
        )

    def _reporter(self) -> ProgressReporter:
        plan, step = self._plan, self.progress.step
        return ProgressReporter(
            self._world, "steps", plan.total_steps, start=step, items_per_count=plan.global_batch, rate_unit="images"
        )


def _raise_diverged(step: int, metrics: StepMetrics) -> None:
    raise TrainingError(
        f"Training diverged at step {step}: the loss is {metrics.loss:g} (limit {MAX_LOSS:g}) and the gradient norm "
        f"{metrics.gradient_norm:g}.",
        "The last checkpoint is from before. Start again with a lower --initial_learning_rate, with --clip_norm, or with "
        "--precision float32 instead of mixed_float16.",
    )
