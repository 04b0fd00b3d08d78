"""A trace of some steps, for TensorBoard's profiler."""

from shardtune.errors import UsageError
from shardtune.runtime.frameworks import tf
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig


class Trace:
    """Traces on rank 0 the steps that `--profile` names, if it names any.

    Args:
        steps: of the whole run.
        done: how many of them were taken before.

    Raises:
        UsageError: the run ends before the first of those that are to be traced.
    """

    def __init__(self, config: TrainConfig, world: World, steps: int, done: int) -> None:
        self._directory, self._first, self._last, self._runs = config.train_dir, -1, -1, False
        if config.profile is None:
            return
        first, last = (int(step) for step in config.profile.split(","))
        world.run_on_root(lambda: _require_within(first, steps))
        if first < done:
            print_on_root(world, f"No trace: step {first} was taken before.")
        if world.is_root:
            self._first, self._last = first, last

    def before(self, step: int) -> None:
        """To be called before each step; counted from 0."""
        if step == self._first:
            tf.profiler.experimental.start(str(self._directory))
            self._runs = True

    def after(self, step: int) -> None:
        """To be called after each step."""
        if step == self._last:
            self.end()

    def end(self) -> None:
        """Write what was traced; the run may end before the last step that was to be."""
        if self._runs:
            self._runs = False
            tf.profiler.experimental.stop()


def _require_within(first: int, steps: int) -> None:
    if first >= steps:
        raise UsageError(f"A trace begins in one of the steps 0 to {steps - 1}, but --profile begins with step {first}.")
