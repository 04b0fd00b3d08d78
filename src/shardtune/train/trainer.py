"""The steps of a run, and all that happens between them."""

import math
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from shardtune.dataset.manifest import Split
from shardtune.errors import StoppedError, TrainingError
from shardtune.evaluate.evaluator import Evaluator
from shardtune.input.order import rank_slice
from shardtune.input.pipeline import QUEUED_RECORDS, InputOptions, evaluation_batches, training_batches
from shardtune.input.reader import RecordReader
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.world import World
from shardtune.train.checkpoint_manager import CheckpointManager
from shardtune.train.config import TrainConfig
from shardtune.train.consistency import check_equal_weights
from shardtune.train.metrics import MetricsWriter, StepTimer
from shardtune.train.ranklog import RankLog
from shardtune.train.run_config import RunInvariants
from shardtune.train.state import TrainState
from shardtune.train.step import StepMetrics, TrainStep
from shardtune.train.stopping import Outcome, OutcomeFile, StopRequest
from shardtune.train.trace import Trace

PHASES = ("validating", "saving", "waiting for input", "in a step")  # in the order in which they come
VALIDATING, SAVING, WAITING_FOR_INPUT, IN_A_STEP = range(len(PHASES))
CHECK_EVERY = 100  # steps between comparisons of the ranks' weights
DIVERGED = 1e3  # a loss this high has logits that differ by more than a thousand
EVALUATION_BATCH = 50  # research/inception's

Batches = Generator[tuple[Any, Any, set[int]], None, None]


@dataclass(frozen=True)
class RunContext:
    """What stops and remembers one attempt at a run."""

    request: StopRequest
    outcome: OutcomeFile
    log: RankLog


class Trainer:
    """One attempt at a run, from its last checkpoint to its end.

    Attributes:
        done: steps that are done.
        schedule: of all steps.

    Args:
        fixed: what was decided when the run began.
        readers: of the training split, and of the validation split, which may be empty.
        threads: this rank's share of cores.

    Raises:
        CheckpointError, TrainingError: see `TrainState.begin`.
    """

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        attempt: RunContext,
        fixed: RunInvariants,
        state: TrainState,
        readers: dict[Split, RecordReader],
        threads: int,
    ) -> None:
        self._config, self._world, self._attempt, self._state = config, world, attempt, state
        self._readers, self._global_batch, self._threads = readers, fixed.global_batch, threads
        self.schedule = fixed.schedule(config, len(readers["train"]))
        self.done, self._history = state.begin(config, world)
        self._first = self.done
        self._evaluator = Evaluator(state.model)
        self._validate_every = _validation_interval(config, readers, fixed.global_batch)
        self._replaced: set[int] = set()  # corrupt records
        self._spent = StepTimer()
        self._trace = Trace(config, world, self.schedule.steps, self.done)
        if world.is_root:
            self._keeper = CheckpointManager(config.train_dir, config.keep_checkpoints)
            self._metrics = MetricsWriter(config.train_dir, self.done)

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or nothing got better for too long, and all is validated."""
        patience = self._config.patience
        enough = self.done >= self.schedule.steps or (patience is not None and self._history.validations_since_best >= patience)
        return enough and not self._owes_validation

    @property
    def _owes_validation(self) -> bool:
        """Whether a validation belongs to the last step that is not there: a run that is to stop saves, and leaves it out."""
        every, total = self._validate_every, self.schedule.steps
        due = self.done and every and (self.done % every == 0 or self.done == total)
        return bool(due) and all(validation["step"] != self.done for validation in self._history.validations)

    def run(self) -> None:
        """Take the steps that are left.

        Raises:
            StoppedError: somebody asked all ranks to stop, and all is saved.
            TrainingError: the loss is no number, or weights differ between ranks.
        """
        total = self.schedule.steps
        self._world.guard.set_timeout(self._config.hang_timeout)
        try:
            if self._owes_validation:
                asked = not self._validate(None)
                self._save(asked=True)
                if asked:
                    self._stop()
            with (
                ProgressReporter(
                    self._world, "steps", total, start=self.done, items_per_count=self._global_batch, rate_unit="images"
                ) as progress,
                closing(self._training_batches()) as batches,
            ):
                self._take_steps(batches, progress)
            check_equal_weights(self._world, self._state.weights)
            self._end("finished", images_per_second=round(progress.rate, 2))
        finally:
            self._trace.end()
            if self._world.is_root:
                self._keeper.wait()
                self._metrics.close()

    def _beat(self, phase: int, *, compiles: bool = False) -> None:
        self._world.guard.heartbeat(f"{PHASES[phase]}, step {self.done}", step=self.done, phase=phase, compiles=compiles)

    def _take_steps(self, batches: Batches, progress: ProgressReporter) -> None:
        config, state, request = self._config, self._state, self._attempt.request
        run_step = TrainStep(state, self._world, config, rank_slice(self._global_batch, self._world), self._global_batch)
        while not self.ended:
            self._trace.before(self.done)
            self._beat(WAITING_FOR_INPUT, compiles=self.done == self._first)
            started = time.monotonic()
            images, labels, corrupt = next(batches)
            waited = time.monotonic() - started
            self._beat(IN_A_STEP, compiles=self.done == self._first)
            rate = self.schedule.rate(self.done)
            told = run_step(images, labels, self.done, rate, asks=request.reason is not None)
            self._trace.after(self.done)
            self.done += 1
            self._replaced |= corrupt
            self._require_sane(told)
            self._spent.add(time.monotonic() - started, waited, told.communication)
            self._report(told, rate, progress)
            asked = told.asks > 0 or (self._owes_validation and not self._validate(images))
            self._save(asked)
            if asked and not self.ended:
                self._stop()

    def _training_batches(self) -> Batches:
        options = InputOptions(
            image_size=self._config.image_size,
            num_threads=self._threads,
            augmentation=self._config.augment,
            seed=self._config.seed,
            max_queued_records=QUEUED_RECORDS * self._config.input_queue_memory_factor,
        )
        return training_batches(
            self._readers["train"], self._world, options, global_batch_size=self._global_batch, first_step=self.done
        )

    def _require_sane(self, told: StepMetrics) -> None:
        """Nothing is saved after a step that was not: the checkpoint before it stays the last."""
        if not (math.isfinite(told.gradient_norm) and told.loss < DIVERGED):
            self._world.run_on_root(lambda: _diverged(self.done, told))
        if self.done % CHECK_EVERY == 0:
            check_equal_weights(self._world, self._state.weights)

    def _report(self, told: StepMetrics, rate: float, progress: ProgressReporter) -> None:
        if self.done % self._config.log_every == 0 or self.done == self.schedule.steps:
            shares, self._spent = self._spent.shares(), StepTimer()
            if self._world.is_root:
                self._metrics.add(
                    self.done,
                    loss=told.loss,
                    learning_rate=rate,
                    gradient_norm=told.gradient_norm,
                    images_per_second=progress.rate,
                    **shares,
                )
            note = (
                f"loss {told.loss:.3f}, learning rate {rate:.3g}, {shares['step_seconds']:.3g} s a step (input "
                f"{shares['input_share']:.0%}, communication {shares['communication_share']:.0%})"
            )
            self._attempt.log.write(f"step {self.done}: {note}")
        else:
            note = None
        if self.done == self._first + 1:
            progress.advance_untimed(1, note)  # it paid for compiling
            self._spent = StepTimer()
        else:
            progress.advance(note)

    def _validate(self, images: Any) -> bool:
        """Validate, unless a rank is asked to stop before that ends: then all leave it out, and False is returned.

        Args:
            images: a batch whose activations become histograms, or None.
        """
        self._beat(VALIDATING, compiles=True)
        batches = evaluation_batches(
            self._readers["validation"],
            self._world,
            batch_size=EVALUATION_BATCH,
            image_size=self._config.image_size,
            examples=len(self._readers["validation"]),
            num_threads=self._threads,
        )
        with self._state.averages.applied(), closing(batches):
            counts = self._evaluator.run(batches, self._world, should_stop=lambda: self._attempt.request.reason is not None)
        if counts is None:
            return False
        self._history.add(self.done, counts.precision_at_1)
        print_on_root(self._world, f"step {self.done}: {counts}")
        if self._world.is_root:
            self._metrics.add(
                self.done, validation_precision_at_1=counts.precision_at_1, validation_recall_at_5=counts.recall_at_5
            )
            if self._config.histograms:
                activations = {} if images is None else self._state.model(images, training=False)
                self._metrics.histograms(self.done, {**self._state.weights, **activations})
        return True

    def _save(self, asked: bool) -> None:
        """Write a checkpoint where one is due: a function of the step on all ranks, but for the clock that rank 0 looks at."""
        if not self._world.is_root:
            return
        config, best = self._config, self._history.best
        late = config.save_minutes is not None and time.monotonic() - self._keeper.saved_at > 60 * config.save_minutes
        is_best = best is not None and best["step"] == self.done
        if asked or late or is_best or self.ended or self.done % config.save_every == 0:
            self._beat(SAVING)
            started = time.monotonic()
            self._keeper.save(self.done, self._state.copy(), self._history)
            self._attempt.log.write(f"step {self.done}: training waited {time.monotonic() - started:.3f} s for a checkpoint")

    def _stop(self) -> None:
        """Leave on every rank at once: a launcher kills the rest when the first one leaves."""
        asked = enumerate(self._world.allgather(self._attempt.request.reason))
        reasons = ", ".join(f"{reason} on rank {rank}" for rank, reason in asked if reason)
        # When one rank has left, launchers send SIGTERM to those that are just leaving too.
        self._world.guard.interrupts.ignore()
        self._end("stopped", reason=reasons)
        raise StoppedError(f"Stopped after step {self.done} by {reasons}: the same command goes on from there.")

    def _end(self, outcome: Outcome, **more: Any) -> None:
        """Write the outcome once all is durable, and let no rank go before."""
        self._beat(SAVING)
        replaced = sorted(set().union(*self._world.allgather(self._replaced)))
        if replaced:
            first = self._readers["train"].describe_record(replaced[0])
            print_on_root(self._world, f"{len(replaced)} corrupt record(s) were replaced by others: the first is {first}.")
        if self._world.is_root:
            self._keeper.wait()
            self._attempt.outcome.write(outcome, step=self.done, corrupt_records=len(replaced), **more)
        self._world.barrier()


def _validation_interval(config: TrainConfig, readers: dict[Split, RecordReader], global_batch: int) -> int:
    """Steps between validations; 0: there are none."""
    if not len(readers["validation"]) or not (config.validate_every or config.validate_epochs):
        return 0
    return config.validate_every or max(1, round(config.validate_epochs * len(readers["train"]) / global_batch))


def _diverged(done: int, told: StepMetrics) -> None:
    raise TrainingError(
        f"Training goes on while the loss is a number below {DIVERGED:g}, but after step {done} it is {told.loss:g} with a "
        f"gradient norm of {told.gradient_norm:g}: start again with a lower --initial_learning_rate, with --clip_norm, or with "
        f"--precision float32 in place of mixed_float16; the last checkpoint is from before."
    )
