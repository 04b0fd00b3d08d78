"""One training step: forward, backward, gradients summed over all workers, weights updated."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardtune.model.batchnorm import examples_weighted
from shardtune.model.inception import LOGITS_LAYER, updated_variables
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
from shardtune.train import dropout
from shardtune.train.config import TrainConfig
from shardtune.train.loss_scale import SMALLEST
from shardtune.train.optimizers import add_weight_decay
from shardtune.train.reduction import allreduce_gradients
from shardtune.train.state import TrainState

LABEL_SMOOTHING = 0.1  # Szegedy et al. 2015, section 7
AUXILIARY_WEIGHT = 0.4  # research/inception inception_model.loss


@dataclass(frozen=True)
class StepMetrics:
    """What a step tells, the same on every rank but for `communication`.

    Attributes:
        loss: mean over the global batch, without weight decay.
        gradient_norm: global norm of the gradients, weight decay included, before they are clipped; 0 where they overflowed
            and changed nothing, NaN where they did though the loss scale was the smallest.
        asks: how many ranks ask to stop.
        communication: seconds between the end of this rank's own back-propagation and the last sum over all.
    """

    loss: float
    gradient_norm: float
    asks: float
    communication: float


class TrainStep:
    """The compiled step of this rank.

    A part that is larger than the batch size is gone through in micro-batches, as many on every rank. Gradients are those of
    the global batch; moving statistics decay once, towards the mean of all micro-batches' moments, weighted by their examples.

    Args:
        state: its model makes of images {"logits", "pool", perhaps "aux_logits"}, and its layer LOGITS_LAYER logits of pool.
            With a loss scale a step whose gradients overflow on any worker changes no weight on any.
        part: first and last (exclusive) place of the global batch that is this rank's.
        global_batch: examples of all ranks.
    """

    def __init__(
        self,
        state: TrainState,
        world: World,
        config: TrainConfig,
        part: tuple[int, int],
        global_batch: int,
    ) -> None:
        self._state, self._model = state, state.model
        self._world, self._config, self._global_batch = world, config, global_batch
        self._variables = self._model.trainable_variables
        self._weights = [variable.value for variable in self._variables]
        self._statistics = [variable for variable in updated_variables(self._model).values() if not variable.trainable]
        self._first, size = part[0], part[1] - part[0]
        self._micro_batches = micro_batches(size, count_micro_batches(global_batch, world.size, config.batch_size))
        shapes = [*(variable.shape for variable in self._variables), (), *(value.shape for value in self._statistics)]
        self._sums = [tf.Variable(tf.zeros(shape), trainable=False) for shape in shapes if len(self._micro_batches) > 1]
        rows = size // len(self._micro_batches) if size % len(self._micro_batches) == 0 else None
        batch = [
            tf.TensorSpec([rows, *self._model.input.shape[1:]], tf.float32),
            tf.TensorSpec([rows], tf.int64),
            tf.TensorSpec([3], tf.int64),
        ]
        # autograph=False: there is no Python control flow on tensors here, and tracing takes a third of the time.
        self._add = tf.function(self._add_micro_batch, autograph=False, input_signature=batch)
        rates = tf.TensorSpec([2], tf.float32)
        self._finish = tf.function(self._finish_step, autograph=False, input_signature=[*batch, rates])

    def __call__(self, images: Any, labels: Any, step: int, learning_rate: float, asks: bool) -> StepMetrics:
        """Train on this rank's part of global batch `step`: images float32 [part, side, side, 3], labels int64 [part]."""
        arguments = []
        for begin, end in self._micro_batches:
            # Others have one example more: the first one stands in for none, with no weight.
            rows = slice(begin, end) if end > begin else slice(1)
            place = tf.constant([step, self._first + begin, end - begin], tf.int64)
            arguments.append((images[rows], labels[rows], place))
        for micro_batch in arguments[:-1]:
            self._add(*micro_batch)
        told = self._finish(*arguments[-1], tf.constant([learning_rate, asks], tf.float32))
        return StepMetrics(*told.numpy().tolist())

    def _add_micro_batch(self, images: Any, labels: Any, place: Any) -> None:
        before = [tf.identity(statistic.value) for statistic in self._statistics]
        for total, part in zip(self._sums, self._contributions(images, labels, place), strict=True):
            total.assign_add(part)
        for statistic, value in zip(self._statistics, before, strict=True):
            statistic.assign(value)

    def _finish_step(self, images: Any, labels: Any, place: Any, rate_and_asks: Any) -> Any:
        parts = self._contributions(images, labels, place)
        if self._sums:
            parts = [total + part for total, part in zip(self._sums, parts, strict=True)]
            for total in self._sums:
                total.assign(tf.zeros_like(total))
        gradients, (loss, *statistics) = parts[: len(self._weights)], parts[len(self._weights) :]
        with tf.control_dependencies(gradients):
            computed = _now()
        exact = [loss, rate_and_asks[1], *statistics]
        gradients, exact = allreduce_gradients(gradients, exact, self._world, self._config.compression)
        with tf.control_dependencies([*gradients, *exact]):
            waited = _now() - computed
        loss, asks, *statistics = exact
        for statistic, value in zip(self._statistics, statistics, strict=True):
            statistic.assign(value / self._global_batch)
        self._state.optimizer.learning_rate.assign(rate_and_asks[0])
        norm = self._update(gradients)
        self._state.averages.update(place[0])
        return tf.stack([loss, norm, asks, tf.cast(waited, tf.float32)])

    def _update(self, gradients: list[Any]) -> Any:
        """Change the weights, unless gradients overflowed; returns the gradients' norm."""
        config, scale = self._config, self._state.loss_scale
        finite = None
        if scale:
            overflowed = tf.where(scale.scale > SMALLEST, 0.0, np.nan)
            gradients = scale.unscaled(gradients)
            finite = scale.update(gradients)
        gradients = add_weight_decay(config.optimizer, gradients, self._variables, config.weight_decay)
        norm = tf.linalg.global_norm(gradients)
        if config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.clip_norm, use_norm=norm)

        def apply() -> Any:
            self._state.optimizer.apply(gradients, self._variables)
            return norm

        return apply() if finite is None else tf.cond(finite, apply, lambda: overflowed)

    def _contributions(self, images: Any, labels: Any, place: Any) -> list[Any]:
        """What these examples add to the gradients of the global batch's mean loss (× the loss scale), to that loss, and to the
        sums of moving statistics: each as these examples alone would make it, times their number.

        Args:
            place: step, place of the first example in the global batch, and number of examples: 0 for a row without weight.
        """
        step, first, count = tf.unstack(place)
        weight = tf.cast(count > 0, tf.float32)
        with examples_weighted(weight):
            outputs = self._model(images, training=True)
        pool = outputs["pool"]
        mask = dropout.mask(self._config.seed, step, first, tf.shape(pool)[0], pool.shape[-1])
        loss = self._cross_entropy(labels, self._model.get_layer(LOGITS_LAYER)(pool * mask))
        if "aux_logits" in outputs:
            loss += AUXILIARY_WEIGHT * self._cross_entropy(labels, outputs["aux_logits"])
        loss *= weight
        scaled = loss * self._state.loss_scale.scale if self._state.loss_scale else loss
        # Gradients of several branches are added in pairs: a sum of three and more at once begins with whichever comes first.
        gradients = tf.gradients(scaled, self._weights, aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE)
        return [*gradients, loss, *(tf.cast(count, tf.float32) * statistic.value for statistic in self._statistics)]

    def _cross_entropy(self, labels: Any, logits: Any) -> Any:
        classes = logits.shape[-1]
        targets = tf.one_hot(labels, classes, on_value=1.0 - LABEL_SMOOTHING, off_value=0.0) + LABEL_SMOOTHING / classes
        return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(targets, logits)) / self._global_batch


def _now() -> Any:
    """Seconds when the graph comes here. Not tf.timestamp, which deterministic mode forbids."""
    return tf.numpy_function(time.perf_counter, [], tf.float64)


def count_micro_batches(global_batch: int, workers: int, batch_size: int) -> int:
    """How many micro-batches of at most `batch_size` each worker's part of a global batch is gone through in: as many as the
    largest part needs, on all workers, since they meet in each."""
    largest_part = -(-global_batch // workers)
    return -(-largest_part // batch_size)


def micro_batches(size: int, count: int) -> list[tuple[int, int]]:
    """Begin and end of `count` micro-batches of about equal size of `size` examples; where there are fewer, some are empty."""
    return [(number * size // count, (number + 1) * size // count) for number in range(count)]
