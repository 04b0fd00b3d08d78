"""How far a run is: the steps it has taken and the validations so far; and what a program does between them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple


class StepMetrics(NamedTuple):
    """What a step measured: the same on every rank, except `allreduce_seconds`.

    Attributes:
        loss: mean over the global batch, without weight decay.
        gradient_norm: global norm of the gradients, weight decay included, before clipping. It is 0 where an overflow skipped
            the step, and NaN where gradients overflow although the loss scale is the smallest.
        stop_requests: number of ranks that were asked to stop.
        allreduce_seconds: from the end of this rank's back-propagation to the last sum over all ranks; NaN on a GPU.
    """

    loss: float
    gradient_norm: float
    stop_requests: float
    allreduce_seconds: float


@dataclass(frozen=True)
class Validation:
    """Precision@1 (0 to 1) of the averaged weights after `step` steps."""

    step: int
    precision_at_1: float


@dataclass(frozen=True)
class RunProgress:
    """Steps taken and validations, the oldest first; every checkpoint has it as metadata.

    Attributes:
        step: number of steps taken.
    """

    step: int = 0
    validations: tuple[Validation, ...] = ()

    @staticmethod
    def from_metadata(step: int, metadata: dict[str, Any]) -> "RunProgress":
        """The progress that `metadata` of the checkpoint of `step` describes."""
        validations = (Validation(value["step"], value["precision_at_1"]) for value in metadata.get("validations", []))
        return RunProgress(step, tuple(validations))

    def to_metadata(self) -> dict[str, Any]:
        """The progress as a JSON value."""
        return {"step": self.step, "validations": [asdict(validation) for validation in self.validations]}

    def after_step(self) -> "RunProgress":
        """The progress after one more step."""
        return replace(self, step=self.step + 1)

    def after_validation(self, precision_at_1: float) -> "RunProgress":
        """The progress after a validation at this step."""
        return replace(self, validations=(*self.validations, Validation(self.step, precision_at_1)))

    @property
    def best(self) -> Validation | None:
        """The first validation with the highest precision."""
        return max(self.validations, key=lambda validation: validation.precision_at_1, default=None)

    @property
    def validations_since_best(self) -> int:
        """Number of validations after the best one."""
        return 0 if self.best is None else len(self.validations) - 1 - self.validations.index(self.best)

    @property
    def is_validated(self) -> bool:
        """Whether there was a validation at this step."""
        return any(validation.step == self.step for validation in self.validations)


def _do_nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Callbacks:
    """What is called between the steps of a run: on every rank, with the same values on each, but for `allreduce_seconds`. What
    they raise ends the run.

    Attributes:
        step: with the number of steps taken, and the metrics of the last of them.
        epoch: with the number of passes over the training split, when one has ended.
        validation: with each validation.
    """

    step: Callable[[int, StepMetrics], object] = _do_nothing
    epoch: Callable[[int], object] = _do_nothing
    validation: Callable[[Validation], object] = _do_nothing


NO_CALLBACKS = Callbacks()


@dataclass(frozen=True)
class TrainResult:
    """What a run has come to: the same on every rank.

    Attributes:
        train_dir: the run directory.
        steps: taken, those of earlier starts included.
        validations: of all starts, the oldest first.
        last_step: metrics of the last step; None where the run had finished before.
    """

    train_dir: Path
    steps: int
    validations: tuple[Validation, ...]
    last_step: StepMetrics | None
