"""Takes the steps of a run, and measures where their time goes."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from shardtune.input.order import count_micro_batches
from shardtune.input.pipeline import QUEUED_RECORDS, InputOptions, training_batches
from shardtune.input.reader import RecordReader
from shardtune.runtime.devices import device, uses_gpu
from shardtune.train.metrics import StepTimer
from shardtune.train.progress import StepMetrics
from shardtune.train.run_context import Phase, RunContext
from shardtune.train.run_plan import RunPlan
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep
from shardtune.train.trace import Trace


def steps_ahead() -> int:
    """How many steps the host may start before the device has finished an earlier one, so that the device never waits for the
    host. Cores are both."""
    return 1 if uses_gpu() else 0


class _StartedStep(NamedTuple):
    """A step that the device may not have finished.

    Attributes:
        number: of steps taken with it.
        wait: waits for the device.
        seconds: that this process spent on it so far.
        input_seconds: of these, for its batch.
    """

    number: int
    wait: Callable[[], StepMetrics]
    seconds: float
    input_seconds: float


class StepRunner:
    """Takes steps in order, `first_step` (from 0) first. Close it: until then, threads read ahead.

    Attributes:
        timer: of the steps that are finished.
        replaced: numbers of the corrupt records so far.
    """

    def __init__(self, context: RunContext, plan: RunPlan, reader: RecordReader, state: TrainState, first_step: int) -> None:
        config, world = context.config, context.world
        self._context, self._plan, self._first_step = context, plan, first_step
        self.timer = StepTimer()
        self.replaced: set[int] = set()
        self._step = TrainStep(state, world, config, plan.global_batch)
        self._trace = Trace(config, world, plan.total_steps, first_step)
        self._started: deque[_StartedStep] = deque()
        options = InputOptions(
            image_size=config.image_size,
            num_threads=context.threads,
            augmentation=config.augment,
            seed=config.seed,
            max_queued_records=QUEUED_RECORDS * config.input_queue_memory_factor,
            device=device(),
        )
        self._batches = training_batches(
            reader,
            world,
            options,
            global_batch_size=plan.global_batch,
            first_step=first_step,
            count=count_micro_batches(plan.global_batch, world.size, config.batch_size),
        )

    def start(self, step: int) -> Any:
        """Start step `step` (from 0), and return images on which it trains."""
        compiles = step == self._first_step
        self._trace.before_step(step)
        self._context.heartbeat(Phase.WAITING_FOR_INPUT, step, compiles=compiles)
        started = time.monotonic()
        batch, corrupt = next(self._batches)
        input_seconds = time.monotonic() - started
        self._context.heartbeat(Phase.IN_A_STEP, step, compiles=compiles)
        wait = self._step(batch, step, self._plan.schedule.rate(step), self._context.stop_request.is_made)
        self._started.append(_StartedStep(step + 1, wait, time.monotonic() - started, input_seconds))
        self.replaced |= corrupt
        return next(images for images, labels in batch if len(labels))

    def finish_next(self, ahead: int) -> tuple[int, StepMetrics] | None:
        """Wait for the next step, unless only the last `ahead` started steps are not finished; returns the number of steps
        taken, and the metrics of the last of them."""
        if len(self._started) <= ahead:
            return None
        step = self._started.popleft()
        began = time.monotonic()
        metrics = step.wait()
        self._trace.after_step(step.number - 1)
        self.timer.add(step.seconds + time.monotonic() - began, step.input_seconds, metrics.allreduce_seconds)
        return step.number, metrics

    def wait(self) -> list[StepMetrics]:
        """Wait for all steps that were started; returns the metrics of those that `finish_next` will return."""
        return [step.wait() for step in self._started]

    def close(self) -> None:
        self._batches.close()
        self._trace.stop()
