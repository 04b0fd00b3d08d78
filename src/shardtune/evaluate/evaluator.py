"""Counts over a split, the same integers for any number of ranks."""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

from shardtune.evaluate.counts import TopKCounts
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World

BETWEEN_MEETINGS = 20  # batches: a second or more, so that meeting costs little, and no rank is far ahead


class Evaluator:
    """Compiles `model` once, to be evaluated as often as wanted.

    Args:
        model: made by `inception.build`; the background class 0 competes like any other.
    """

    def __init__(self, model: Any) -> None:
        def hits(images: Any, labels: Any) -> Any:
            logits = model(images, training=False)["logits"]
            count = logits.shape[-1]
            return [tf.reduce_sum(tf.cast(tf.math.in_top_k(labels, logits, k), tf.int64)) for k in (1, min(5, count))]

        self._hits = tf.function(
            hits,
            autograph=False,
            input_signature=[tf.TensorSpec([None, *model.input.shape[1:]], tf.float32), tf.TensorSpec([None], tf.int64)],
        )

    def run(
        self, batches: Iterable[tuple[Any, Any]], world: World, asked: Callable[[], bool] = lambda: False
    ) -> TopKCounts | None:
        """Go over this rank's batches and add up over all ranks.

        Args:
            batches: (images float32 [n, side, side, 3], labels int64 [n]), equally many on every rank; n may differ, and be 0.
            asked: whether this rank is asked to stop: then all ranks return None within `BETWEEN_MEETINGS` batches.
        """
        mine = TopKCounts()
        for number, (images, labels) in enumerate(batches):
            if number % BETWEEN_MEETINGS == 0 and any(world.allgather(asked())):
                return None
            world.guard.heartbeat(f"evaluating, batch {number}", step=number, compiles=number == 0)
            if len(labels):
                top_1, top_5 = self._hits(images, labels)
                mine += TopKCounts(len(labels), int(top_1), int(top_5))
        return reduce(TopKCounts.__add__, world.allgather(mine))
