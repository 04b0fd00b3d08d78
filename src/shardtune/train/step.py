"""One training step: forward, backward, gradients summed over all workers, weights updated."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from shardtune.input.order import count_micro_batches, micro_batches, rank_slice
from shardtune.model.batchnorm import examples_weighted, moments_collected
from shardtune.model.inception import LOGITS_LAYER
from shardtune.model.packing import pack
from shardtune.runtime.devices import uses_gpu
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.dropout import dropout_mask
from shardtune.train.loss_scale import MIN_SCALE
from shardtune.train.optimizers import add_weight_decay
from shardtune.train.progress import StepMetrics
from shardtune.train.reduction import allreduce_gradients, pack_gradients
from shardtune.train.state import TrainState

LABEL_SMOOTHING = 0.1  # Szegedy et al. 2015, section 7
AUXILIARY_WEIGHT = 0.4  # research/inception inception_model.loss


class _MicroBatch(NamedTuple):
    """Tensors of one micro-batch.

    Attributes:
        images: float32 [rows, side, side, 3].
        labels: int64 [rows].
        step: int64 scalar, counted from 0.
        first_row: index of the first example in the global batch, int64 scalar.
        size: number of examples, int64 scalar; 0 for one row that has no weight.
    """

    images: Any
    labels: Any
    step: Any
    first_row: Any
    size: Any


class _Contribution(NamedTuple):
    """What some examples add to a step, float32.

    Attributes:
        gradients: of the global batch's mean loss times the loss scale, packed by `TrainState.gradient_parts`.
        loss: their part of that mean loss, scalar.
        moments: means and variances of the layers that normalise by them, in the order of `TrainState.statistics`, times the
            number of examples.
    """

    gradients: list[list[Any]]
    loss: Any
    moments: Any


class _ExactSums(NamedTuple):
    """Sums over all ranks that never travel in half precision, in the order in which they travel."""

    loss: Any
    stop_requests: Any
    moments: Any


class TrainStep:
    """The compiled step of this rank.

    A rank whose part of the global batch is larger than the batch size takes it in micro-batches, as many as every other rank.
    Gradients are those of the global batch. Moving statistics decay once a step, towards the mean of the moments of all
    micro-batches, weighted by their examples.

    Args:
        state: its model maps images to {"logits", "pool", perhaps "aux_logits"}; its layer LOGITS_LAYER maps pool to logits.
            With a loss scale, a step whose gradients overflow on any rank changes no weight on any.
        global_batch: examples of all ranks together.
    """

    def __init__(self, state: TrainState, world: World, config: TrainConfig, global_batch: int) -> None:
        self._state, self._model = state, state.model
        self._world, self._config, self._global_batch = world, config, global_batch
        self._weights = [variable.value for variable in self._model.trainable_variables]
        self._first_row, end = rank_slice(global_batch, world)
        size = end - self._first_row
        self._bounds = micro_batches(size, count_micro_batches(global_batch, world.size, config.batch_size))
        compiled = partial(tf.function, autograph=False, jit_compile=True)
        self._differentiate = compiled(self._contribution_of) if config.jit == "all" else self._contribution_of
        self._update = compiled(self._update_state) if config.jit != "none" else self._update_state
        self._accumulated = self._zeros() if len(self._bounds) > 1 else None
        rows = size // len(self._bounds) if size % len(self._bounds) == 0 else None
        scalar = tf.TensorSpec([], tf.int64)
        batch = _MicroBatch(
            images=tf.TensorSpec([rows, *self._model.input.shape[1:]], tf.float32),
            labels=tf.TensorSpec([rows], tf.int64),
            step=scalar,
            first_row=scalar,
            size=scalar,
        )
        # autograph=False: there is no Python control flow on tensors here, and tracing takes a third of the time.
        self._accumulate = tf.function(self._accumulate_micro_batch, autograph=False, input_signature=[batch])
        scalars = [tf.TensorSpec([], tf.float32)] * 2
        self._finish = tf.function(self._finish_step, autograph=False, input_signature=[batch, *scalars])

    def __call__(
        self, batch: Sequence[tuple[Any, Any]], step: int, learning_rate: float, stop_requested: bool
    ) -> Callable[[], StepMetrics]:
        """Start to train on this rank's part of global batch `step`.

        Args:
            batch: `micro_batches` of it: images float32 [n, side, side, 3], labels int64 [n].

        Returns:
            a function that waits until the step is taken.
        """
        *others, last = [self._micro_batch(batch, number, step) for number in range(len(self._bounds))]
        for each in others:
            self._accumulate(each)
        metrics = self._finish(last, tf.constant(learning_rate, tf.float32), tf.constant(float(stop_requested), tf.float32))
        return lambda: StepMetrics(*metrics.numpy().tolist())

    def _micro_batch(self, batch: Sequence[tuple[Any, Any]], number: int, step: int) -> _MicroBatch:
        begin, end = self._bounds[number]
        images, labels = batch[number]
        if begin == end:  # where other ranks have one example more, any example stands in, without weight
            images, labels = next((images[:1], labels[:1]) for images, labels in batch if len(labels))
        return _MicroBatch(
            images=images,
            labels=labels,
            step=tf.constant(step, tf.int64),
            first_row=tf.constant(self._first_row + begin, tf.int64),
            size=tf.constant(end - begin, tf.int64),
        )

    def _zeros(self) -> _Contribution:
        def zeros(tensor: Any) -> Any:
            return tf.Variable(tf.zeros(tensor.shape), trainable=False)

        gradients = pack_gradients([tf.zeros(weight.shape) for weight in self._weights], self._state.gradient_parts)
        contribution = _Contribution(gradients, tf.zeros([]), self._state.statistics.vector)
        return _Contribution(*(tf.nest.map_structure(zeros, part) for part in contribution))

    def _accumulate_micro_batch(self, batch: _MicroBatch) -> None:
        tf.nest.map_structure(lambda total, part: total.assign_add(part), self._accumulated, self._contribution(batch))

    def _finish_step(self, batch: _MicroBatch, learning_rate: Any, stop_requests: Any) -> Any:
        """The fields of `StepMetrics`, float32 [4]."""
        local = self._contribution(batch)
        if self._accumulated:
            local = tf.nest.map_structure(lambda total, part: total + part, self._accumulated, local)
            for total in tf.nest.flatten(self._accumulated):
                total.assign(tf.zeros_like(total))
        with tf.control_dependencies(tf.nest.flatten(local.gradients)):
            computed_at = _now()
        exact = _ExactSums(local.loss, stop_requests, local.moments)
        gradients, exact = allreduce_gradients(local.gradients, exact, self._world, self._config.compression)
        with tf.control_dependencies(tf.nest.flatten((gradients, exact))):
            allreduce_seconds = tf.cast(_now() - computed_at, tf.float32)
        norm = self._update(gradients, exact.moments, batch.step, learning_rate)
        return tf.stack([exact.loss, norm, exact.stop_requests, allreduce_seconds])

    def _update_state(self, gradients: list[Any], moments: Any, step: Any, learning_rate: Any) -> Any:
        """Change everything that a step changes; returns the gradients' norm."""
        state, decay = self._state, self._config.batch_norm_decay
        moving = state.statistics.vector
        moving.assign(decay * moving.value + (1 - decay) * (moments / self._global_batch))
        state.optimizer.learning_rate.assign(learning_rate)
        norm = self._apply(gradients)
        state.averages.update(step)
        for group in state.groups:
            group.write()
        return norm

    def _apply(self, gradients: list[Any]) -> Any:
        """Change `TrainState.trained` by its gradients, unless those overflowed; returns the gradients' norm."""
        config, scale, groups = self._config, self._state.loss_scale, self._state.trained
        vectors, decays = [group.vector for group in groups], [group.decays for group in groups]
        finite = None
        if scale:
            overflowed = tf.where(scale.scale > MIN_SCALE, 0.0, np.nan)
            gradients = scale.unscale(gradients)
            finite = scale.update(gradients)
        gradients = add_weight_decay(config.optimizer, gradients, vectors, decays, config.weight_decay)
        norm = tf.linalg.global_norm(gradients)
        if config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.clip_norm, use_norm=norm)

        def apply() -> Any:
            self._state.optimizer.apply(gradients, vectors)
            return norm

        return apply() if finite is None else tf.cond(finite, apply, lambda: overflowed)

    def _contribution(self, batch: _MicroBatch) -> Any:
        units = self._model.output["pool"].shape[-1]
        # Not compiled: XLA draws other random numbers.
        mask = dropout_mask(self._config.seed, batch.step, batch.first_row, tf.shape(batch.images)[0], units)
        return self._differentiate(batch, mask)

    def _contribution_of(self, batch: _MicroBatch, mask: Any) -> _Contribution:
        """The contribution of a micro-batch; `mask` has the factors of its features, float32 [rows, units]."""
        weight = tf.cast(batch.size > 0, tf.float32)
        with examples_weighted(weight), moments_collected() as moments:
            outputs = self._model(batch.images, training=True)
        loss = self._cross_entropy(batch.labels, self._model.get_layer(LOGITS_LAYER)(outputs["pool"] * mask))
        if "aux_logits" in outputs:
            loss += AUXILIARY_WEIGHT * self._cross_entropy(batch.labels, outputs["aux_logits"])
        loss *= weight
        scaled = loss * self._state.loss_scale.scale if self._state.loss_scale else loss
        # Gradients of several branches are added in pairs: a sum of three and more would begin with whichever is ready first.
        gradients = tf.gradients(scaled, self._weights, aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE)
        return _Contribution(
            gradients=pack_gradients(gradients, self._state.gradient_parts),
            loss=loss,
            moments=tf.cast(batch.size, tf.float32)
            * pack([moments[id(variable)] for variable in self._state.statistics.variables.values()]),
        )

    def _cross_entropy(self, labels: Any, logits: Any) -> Any:
        classes = logits.shape[-1]
        targets = tf.one_hot(labels, classes, on_value=1.0 - LABEL_SMOOTHING, off_value=0.0) + LABEL_SMOOTHING / classes
        return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(targets, logits)) / self._global_batch


def _now() -> Any:
    """Seconds, when the graph reaches this operation. NaN on a GPU, which then is still at an earlier one."""
    if uses_gpu():
        return tf.constant(np.nan, tf.float64)
    # Not tf.timestamp, which deterministic mode forbids.
    return tf.numpy_function(time.perf_counter, [], tf.float64)
