"""Run a network on batches of images. Each example has the same logits, bit for bit, for any number of ranks."""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.evaluate.counts import TopKCounts, count_hits, top_classes
from shardtune.input.pipeline import EvaluationBatch
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World

BATCHES_PER_STOP_CHECK = 20  # a second or more: the exchange costs little, and no rank gets far ahead
Logits = npt.NDArray[np.float32]


class Evaluator:
    """Runs `model` any number of times; it is compiled once.

    Args:
        model: from `inception.build`.
        batch_size: examples of the largest batch. Smaller ones are padded to it, because the shape of a batch decides how the
            machine computes it, and with that the last bits of all its logits.
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        shape = model.input.shape[1:]
        self._num_classes = model.output["logits"].shape[-1]

        def logits(images: Any) -> Any:
            padding = [[0, batch_size - tf.shape(images)[0]], *[[0, 0] for _ in shape]]
            return model(tf.ensure_shape(tf.pad(images, padding), [batch_size, *shape]), training=False)["logits"]

        self._logits = tf.function(logits, autograph=False, input_signature=[tf.TensorSpec([None, *shape], tf.float32)])

    def logits(self, images: Any) -> Logits:
        """Logits [n, classes] of images float32 [n, side, side, 3] in −1 to 1, as `central_crop` makes them; n may be 0."""
        if not len(images):
            return np.zeros((0, self._num_classes), np.float32)
        return self._logits(images).numpy()[: len(images)]  # type: ignore[no-any-return]

    def run(
        self, batches: Iterable[EvaluationBatch], world: World
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Logits]]:
        """Numbers, labels and logits of the examples of each batch of this rank."""
        for number, (examples, images, labels) in enumerate(batches):
            world.guard.heartbeat(f"evaluating, batch {number}", step=number, compiles=number == 0)
            yield examples, np.asarray(labels), self.logits(images)

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
