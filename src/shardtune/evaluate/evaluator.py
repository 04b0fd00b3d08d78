"""Count correct predictions over a split: the same integers for any number of ranks."""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

from shardtune.evaluate.counts import TopKCounts
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World

BATCHES_PER_STOP_CHECK = 20  # a second or more: the exchange costs little, and no rank gets far ahead


class Evaluator:
    """Evaluates `model` any number of times; the model is compiled once.

    Args:
        model: from `inception.build`. The background class 0 counts like any other class.
    """

    def __init__(self, model: Any) -> None:
        def top_k_hits(images: Any, labels: Any) -> Any:
            logits = model(images, training=False)["logits"]
            num_classes = logits.shape[-1]
            return [tf.reduce_sum(tf.cast(tf.math.in_top_k(labels, logits, k), tf.int64)) for k in (1, min(5, num_classes))]

        self._top_k_hits = tf.function(
            top_k_hits,
            autograph=False,
            input_signature=[tf.TensorSpec([None, *model.input.shape[1:]], tf.float32), tf.TensorSpec([None], tf.int64)],
        )

    def run(
        self, batches: Iterable[tuple[Any, Any]], world: World, should_stop: Callable[[], bool] = lambda: False
    ) -> TopKCounts | None:
        """The counts over the batches of all ranks, or None if a rank should stop.

        Args:
            batches: (images float32 [n, side, side, 3], labels int64 [n]), equally many on every rank; n may differ, and be 0.
            should_stop: whether this rank should stop. Then all ranks return None within `BATCHES_PER_STOP_CHECK` batches.
        """
        local = TopKCounts()
        for number, (images, labels) in enumerate(batches):
            if number % BATCHES_PER_STOP_CHECK == 0 and any(world.allgather(should_stop())):
                return None
            world.guard.heartbeat(f"evaluating, batch {number}", step=number, compiles=number == 0)
            if len(labels):
                top_1, top_5 = self._top_k_hits(images, labels)
                local += TopKCounts(len(labels), int(top_1), int(top_5))
        return reduce(TopKCounts.__add__, world.allgather(local))
