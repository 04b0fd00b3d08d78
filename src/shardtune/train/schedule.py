"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

WARMUP_EPOCHS = 5  # Goyal et al. 2017, arXiv:1706.02677, section 2.2
LONGEST_WARMUP = 0.1  # of the run, so that a short one also gets to train at its full rate


@dataclass(frozen=True)
class Schedule:
    """Gradual warm-up from `base` to `base × workers`, then a cosine down to 0 at the last step.

    Attributes:
        base: learning rate of one worker, the rate of step 0.
        workers: the linear scaling rule's factor (Goyal et al. 2017, section 2.1).
        steps: steps of the whole run.
        warmup: steps until the full rate.
    """

    base: float
    workers: int
    steps: int
    warmup: int

    @staticmethod
    def of(base: float, workers: int, steps: int, steps_per_epoch: float) -> "Schedule":
        """The schedule of a run of `steps` steps: 5 epochs of warm-up, at most a tenth of the run."""
        return Schedule(base, workers, steps, round(min(WARMUP_EPOCHS * steps_per_epoch, LONGEST_WARMUP * steps)))

    @property
    def peak(self) -> float:
        return self.base * self.workers

    def rate(self, step: int) -> float:
        """Learning rate of `step`, counted from 0."""
        if step < self.warmup:
            return self.base + (self.peak - self.base) * step / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
