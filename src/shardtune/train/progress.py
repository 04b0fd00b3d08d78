"""How far a run is: the steps it has taken and the validations so far."""

from dataclasses import asdict, dataclass, replace
from typing import Any


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
