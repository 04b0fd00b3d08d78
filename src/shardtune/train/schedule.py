"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

from shardtune.train.config import LrDecay, LrScaling, TrainConfig

MAX_WARMUP_FRACTION = 0.1  # of the run, so that a short run trains at its full rate too
DECAY_MILESTONES = (30 / 90, 60 / 90, 80 / 90)  # of the run: Goyal et al. 2017, arXiv:1706.02677, section 5.1
STEP_FACTOR = 0.1
PLOT_ROWS, PLOT_COLUMNS = 8, 64


@dataclass(frozen=True)
class LearningRateSchedule:
    """Gradual warm-up from `base` to `base × scale` (Goyal et al. 2017, section 2.2), then a decay.

    Attributes:
        base: learning rate of one worker, the rate of step 0.
        scale: factor of `base` for a larger global batch.
        total_steps: of the whole run.
        warmup_steps: until the full rate.
        decay: constant; exponential: × `factor` every `decay_steps`, in stairs (research/inception inception_train.train);
            cosine: to 0 at the last step; step: × 0.1 at 3/9, 6/9 and 8/9 of the run.
        factor, decay_steps: of the exponential decay.
    """

    base: float
    scale: float
    total_steps: int
    warmup_steps: int
    decay: LrDecay = "cosine"
    factor: float = 1.0
    decay_steps: int = 1

    @staticmethod
    def from_config(config: TrainConfig, scale: float, total_steps: int, steps_per_epoch: float) -> "LearningRateSchedule":
        """The schedule of `config`; warm-up takes at most a tenth of the run."""
        return LearningRateSchedule(
            base=config.initial_learning_rate,
            scale=scale,
            total_steps=total_steps,
            warmup_steps=round(min(config.warmup_epochs * steps_per_epoch, MAX_WARMUP_FRACTION * total_steps)),
            decay=config.learning_rate_decay,
            factor=config.learning_rate_decay_factor,
            decay_steps=max(1, int(config.num_epochs_per_decay * steps_per_epoch)),
        )

    def __str__(self) -> str:
        after = "a cosine to 0" if self.decay == "cosine" else f"{self.decay} decay" if self.decay != "constant" else "constant"
        before = f"{self.base:g} for" if self.scale == 1 else f"{self.base:g} to {self.peak:g} in"
        return f"learning rate {before} {self.warmup_steps} steps, then {after}"

    @property
    def peak(self) -> float:
        return self.base * self.scale

    def rate(self, step: int) -> float:
        """Learning rate of `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.base + (self.peak - self.base) * step / self.warmup_steps
        return self.peak * self._decayed(step)

    def _decayed(self, step: int) -> float:
        """Fraction of the peak that is left at `step`."""
        if self.decay == "exponential":
            return self.factor ** (step // self.decay_steps)
        if self.decay == "step":
            return STEP_FACTOR ** sum(step >= round(at * self.total_steps) for at in DECAY_MILESTONES)
        if self.decay == "cosine":
            progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return 1.0


def learning_rate_scale(scaling: LrScaling, batches: int) -> float:
    """Factor of one worker's learning rate for a global batch of `batches` batches.

    linear: Goyal et al. 2017, section 2.1; sqrt: Krizhevsky 2014, arXiv:1404.5997, section 5.
    """
    return {"linear": float(batches), "sqrt": math.sqrt(batches), "none": 1.0}[scaling]


def render(schedule: LearningRateSchedule, steps_per_epoch: float) -> str:
    """The schedule as a table and a small plot."""
    tenths = {round(tenth * (schedule.total_steps - 1) / 10) for tenth in range(11)}
    steps = sorted(tenths | {min(schedule.warmup_steps, schedule.total_steps - 1)})
    rows = [f"{step:>10}{step / steps_per_epoch:>10.2f}  {schedule.rate(step):.6g}" for step in steps]
    rates = [schedule.rate(column * (schedule.total_steps - 1) // (PLOT_COLUMNS - 1)) for column in range(PLOT_COLUMNS)]
    top = max(rates)
    plot = [
        (f"{top:>10.4g}" if row == PLOT_ROWS else " " * 10)
        + " │"
        + "".join("█" if rate >= top * (row - 0.5) / PLOT_ROWS else " " for rate in rates).rstrip()
        for row in range(PLOT_ROWS, 0, -1)
    ]
    axis = f"{0:>10} └{'─' * PLOT_COLUMNS}\n{'step 0':>18}{schedule.total_steps - 1:>{PLOT_COLUMNS - 6}}"
    return "\n".join([f"{'step':>10}{'epoch':>10}  learning rate", *rows, "", *plot, axis])
