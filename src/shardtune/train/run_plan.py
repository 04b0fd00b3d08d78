"""When a run validates, saves and ends: pure functions of its progress."""

import math
from dataclasses import dataclass

from shardtune.train.config import TrainConfig
from shardtune.train.progress import RunProgress
from shardtune.train.run_config import RunInvariants
from shardtune.train.schedule import LearningRateSchedule


@dataclass(frozen=True)
class RunPlan:
    """What a run does at which step.

    Attributes:
        schedule: learning rate of each step; it knows the number of steps.
        global_batch: examples of a step.
        validate_every: steps between validations; 0: never.
        save_every: steps between checkpoints.
        save_every_seconds: seconds after which a checkpoint is due before its step; inf: never.
        patience: validations without a better one that end the run; inf: never.
    """

    schedule: LearningRateSchedule
    global_batch: int
    validate_every: int = 0
    save_every: int = 500
    save_every_seconds: float = math.inf
    patience: float = math.inf

    @staticmethod
    def from_config(
        config: TrainConfig, invariants: RunInvariants, training_examples: int, validation_examples: int
    ) -> "RunPlan":
        """The plan of a run over so many examples of each split."""
        epochs, global_batch = config.validate_epochs, invariants.global_batch
        validate_every = config.validate_every or (max(1, round(epochs * training_examples / global_batch)) if epochs else 0)
        return RunPlan(
            schedule=invariants.schedule(config, training_examples),
            global_batch=global_batch,
            validate_every=validate_every if validation_examples else 0,
            save_every=config.save_every,
            save_every_seconds=math.inf if config.save_every_minutes is None else 60 * config.save_every_minutes,
            patience=math.inf if config.patience is None else config.patience,
        )

    @property
    def total_steps(self) -> int:
        return self.schedule.total_steps

    def is_validation_due(self, progress: RunProgress) -> bool:
        """Whether this step has a validation that is not made yet. A run that is asked to stop leaves it to the next start."""
        if not progress.step or not self.validate_every or progress.is_validated:
            return False
        return progress.step % self.validate_every == 0 or progress.step == self.total_steps

    def is_finished(self, progress: RunProgress) -> bool:
        """Whether all steps are taken, or no validation was better for too long, and no validation is due."""
        enough = progress.step >= self.total_steps or progress.validations_since_best >= self.patience
        return enough and not self.is_validation_due(progress)

    def is_checkpoint_due(self, progress: RunProgress, seconds_since_save: float) -> bool:
        """Whether to save now: at every `save_every`th step, after too long, at the end, and at the best validation."""
        return (
            progress.step % self.save_every == 0
            or seconds_since_save > self.save_every_seconds
            or self.is_finished(progress)
            or (progress.best is not None and progress.best.step == progress.step)
        )
