"""Steps on images that are there already, by the parts of `shardtune train`: what the others here measure with."""

import resource
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shardtune.runtime import devices
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
from shardtune.train.command import build_inception
from shardtune.train.config import Jit, Precision, TrainConfig
from shardtune.train.state import TrainState
from shardtune.train.step import StepMetrics, TrainStep
from shardtune.train.step_runner import steps_ahead
from tests.benchmarks.gpu_check import SIDE, SMALL_SIDE

CLASSES = 6
MEASURED_SECONDS = 4.0  # of steps, about
STEPS, SMALL_STEPS = (3, 30), (3, 3)  # at least, at most


class SyntheticTraining:
    """A network whose steps are measured, one batch size after the other."""

    def __init__(self, world: World, precision: Precision, jit: Jit, *, small: bool) -> None:
        self._world, self._steps = world, SMALL_STEPS if small else STEPS
        side = SMALL_SIDE if small else SIDE
        self._config = TrainConfig(Path(), Path(), image_size=side, precision=precision, jit=jit)
        devices.configure_devices(world, tf32=precision == "tf32")
        devices.disable_graph_rewriting()
        manifest: Any = SimpleNamespace(num_classes=CLASSES)
        self._state = TrainState(build_inception(manifest, self._config, world), self._config)

    def measure(self, batch_size: int) -> dict[str, float]:
        """Rates of batches of this size on each rank: images per second of all, medians and the first step in seconds, and the
        most memory in use: of the GPU while it took these steps, or of this process since it began.

        Raises:
            tf.errors.OpError: in most cases because memory is too small for it.
        """
        side, gpus = self._config.image_size, tf.config.get_visible_devices("GPU")
        if gpus:
            tf.config.experimental.reset_memory_stats("GPU:0")
        config = replace(self._config, batch_size=batch_size)
        step = TrainStep(self._state, self._world, config, self._world.size * batch_size)
        images = tf.random.stateless_uniform([batch_size, side, side, 3], [1, self._world.rank], -1, 1)
        labels = tf.ones([batch_size], tf.int64)

        def start(number: int) -> Callable[[], StepMetrics]:
            return step([(images, labels)], number, 1e-4, stop_requested=False)

        clock = [time.monotonic()]
        for number in range(2):
            start(number)()
            clock.append(time.monotonic())
        first, second = (end - begin for begin, end in pairwise(clock))
        seconds = statistics.median(self._intervals(start, second))
        return {
            "images_per_second": round(self._world.size * batch_size / seconds, 2),
            "step_seconds": round(seconds, 5),
            "first_step_seconds": round(first, 2),
            "peak_memory_bytes": _peak_memory(bool(gpus)),
        }

    def _intervals(self, start: Callable[[int], Callable[[], StepMetrics]], about: float) -> list[float]:
        """Seconds from the end of one step to that of the next, with as many under way as in training.

        Args:
            about: how long a step takes: all ranks must take as many.
        """
        least, most = self._steps
        count = self._world.broadcast(max(least, min(most, round(MEASURED_SECONDS / about))))
        ends, started = [], deque[Callable[[], StepMetrics]]()
        for number in range(2, 3 + count):
            started.append(start(number))
            if len(started) > steps_ahead():
                started.popleft()()
                ends.append(time.monotonic())
        for wait in started:
            wait()
        return [end - begin for begin, end in pairwise(ends)]


def _peak_memory(has_gpu: bool) -> int:
    if has_gpu:
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
