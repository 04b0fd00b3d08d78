"""Run a network on batches of images. Each example has the same logits, bit for bit, for any number of ranks."""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce

import numpy as np
import numpy.typing as npt

from shardtune.evaluate.counts import TopKCounts, count_hits, top_classes
from shardtune.evaluate.network import Logits, Network
from shardtune.input.pipeline import EvaluationBatch
from shardtune.runtime.world import World

BATCHES_PER_STOP_CHECK = 20  # a second or more: the exchange costs little, and no rank gets far ahead


class Evaluator:
    """Runs `network` over batches any number of times."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def run(
        self, batches: Iterable[EvaluationBatch], world: World
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Logits]]:
        """Numbers, labels and logits of the examples of each batch of this rank."""
        for number, (examples, images, labels) in enumerate(batches):
            world.guard.heartbeat(f"evaluating, batch {number}", step=number, compiles=number == 0)
            yield examples, np.asarray(labels), self._network.logits(images)

    def count(
        self, batches: Iterable[EvaluationBatch], world: World, should_stop: Callable[[], bool] = lambda: False
    ) -> TopKCounts | None:
        """The counts over the batches of all ranks, or None if a rank should stop. The background class counts, too.

        Args:
            batches: equally many on every rank.
            should_stop: whether this rank should stop. Then all ranks return None within `BATCHES_PER_STOP_CHECK` batches.
        """
        local = TopKCounts()
        for number, (_, labels, logits) in enumerate(self.run(batches, world)):
            if number % BATCHES_PER_STOP_CHECK == 0 and any(world.allgather(should_stop())):
                return None
            local += count_hits(top_classes(logits), labels)
        return reduce(TopKCounts.__add__, world.allgather(local))
