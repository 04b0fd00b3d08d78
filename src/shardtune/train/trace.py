"""A profiler trace of some steps, for TensorBoard."""

from shardtune.errors import UsageError
from shardtune.runtime.frameworks import tf
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig


class Trace:
    """Traces the steps that `--profile` names on rank 0.

    Args:
        total_steps: of the whole run.
        first_step: the step that this job begins with.

    Raises:
        UsageError: the run ends before the first step to trace.
    """

    def __init__(self, config: TrainConfig, world: World, total_steps: int, first_step: int) -> None:
        self._directory, self._first, self._last, self._is_running = config.train_dir, -1, -1, False
        if config.profile is None:
            return
        first, last = (int(step) for step in config.profile.split(","))
        world.run_on_root(lambda: _check_first(first, total_steps))
        if first < first_step:
            print_on_root(world, f"No trace: step {first} was taken before.")
        if world.is_root:
            self._first, self._last = first, last

    def before_step(self, step: int) -> None:
        """Call this before each step; steps count from 0."""
        if step == self._first:
            tf.profiler.experimental.start(str(self._directory))
            self._is_running = True

    def after_step(self, step: int) -> None:
        """Call this when the device has finished a step."""
        if step == self._last:
            self.stop()

    def stop(self) -> None:
        """Write the trace; call this at the end of the run, which may come before the last step to trace."""
        if self._is_running:
            self._is_running = False
            tf.profiler.experimental.stop()


def _check_first(first: int, total_steps: int) -> None:
    if first >= total_steps:
        raise UsageError(
            f"--profile starts at step {first}, but the last step of the run is {total_steps - 1}.", "Choose earlier steps."
        )
