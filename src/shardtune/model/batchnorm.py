"""Batch normalisation as in the 2016 graph: without a scale, over the examples of one worker or of all workers.

Ioffe and Szegedy 2015, arXiv:1502.03167. The arithmetic is float32 for every precision of the activations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from shardtune.runtime.frameworks import keras, tf
from shardtune.runtime.world import World

EPSILON = 0.001  # research/inception inception_model.inference
BatchNormMode = Literal["per_worker", "synced", "frozen"]

_example_weight: ContextVar[Any] = ContextVar("example_weight", default=1.0)
_moments: ContextVar[dict[int, Any] | None] = ContextVar("moments", default=None)


@contextmanager
def examples_weighted(weight: Any) -> Iterator[None]:
    """Within the context, synced moments count each example of this worker `weight` times (float32 scalar).

    A weight of 0 is for examples that only fill the step of a worker that has fewer examples than the others.
    """
    token = _example_weight.set(weight)
    try:
        yield
    finally:
        _example_weight.reset(token)


@contextmanager
def moments_collected() -> Iterator[dict[int, Any]]:
    """Within the context, layers that train record the moments of their batch: by id of the moving mean or variance, float32
    [channels]."""
    moments: dict[int, Any] = {}
    token = _moments.set(moments)
    try:
        yield moments
    finally:
        _moments.reset(token)


@dataclass(frozen=True)
class BatchNormOptions:
    """How batch normalisation trains.

    Attributes:
        mode: per_worker: by the moments (mean and variance) of this worker's batch. synced: by the moments of the examples
            of all workers, each counted once. frozen: by the moving moments, and beta does not train; gradients pass through.
        world: the workers of synced.
    """

    mode: BatchNormMode = "per_worker"
    world: World = field(default_factory=World)


class BatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Normalises each channel of [batch, height, width, channels], then adds `beta`.

    In training it uses the moments that `options.mode` selects; in inference, or when not trainable, the moving ones. It does
    not move those: the training step does, once for all its micro-batches, by what `moments_collected` gives it.
    """

    def __init__(self, options: BatchNormOptions, **layer_options: Any) -> None:
        super().__init__(trainable=options.mode != "frozen", **layer_options)
        self.options = options

    def build(self, shape: tuple[int, ...]) -> None:
        def vector(name: str, initial: str, *, trainable: bool) -> Any:
            return self.add_weight(shape=shape[-1:], name=name, initializer=initial, trainable=trainable, autocast=False)

        self.beta = vector("beta", "zeros", trainable=True)
        self.moving_mean = vector("moving_mean", "zeros", trainable=False)
        self.moving_variance = vector("moving_variance", "ones", trainable=False)

    def compute_output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def call(self, x: Any, training: bool = False, mask: None = None) -> Any:
        if training and self.trainable:
            output, mean, variance = self._synced(x) if self.options.mode == "synced" else self._fused(x)
            moments = _moments.get()
            if moments is not None:
                moments[id(self.moving_mean)], moments[id(self.moving_variance)] = mean, variance
            return output
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training and self.options.mode == "frozen":
            # On a GPU in deterministic mode TensorFlow cannot differentiate its fused operation with given moments.
            return self._affine(x, mean, variance)
        return self._fused(x, mean, variance)[0]

    def _fused(self, x: Any, mean: Any = None, variance: Any = None) -> tuple[Any, Any, Any]:
        """Normalise by the given moments, or else by the batch's; returns output, mean and variance.

        TensorFlow's fused operation is more than twice as fast as separate ones in bfloat16.
        """
        output, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x, tf.ones_like(self.beta.value), self.beta.value, mean, variance, EPSILON, is_training=mean is None
        )
        count = _values_per_channel(x)
        return output, mean, variance * ((count - 1) / count)  # the operation returns the unbiased variance

    def _synced(self, x: Any) -> tuple[Any, Any, Any]:
        """Normalise by the moments over all workers; returns output, mean and variance."""
        # Sums of squares lose least precision around a value near the mean. All workers have the same moving mean.
        centre = self.moving_mean.value
        count = _values_per_channel(x) * _example_weight.get()
        mean, variance = tf.nn.moments(tf.cast(x, tf.float32), [0, 1, 2])
        distance = mean - centre
        local_sums = tf.concat([[count], count * distance, count * (variance + distance**2)], 0)
        sums = self.options.world.allreduce_sum([local_sums], f"moments.{self.name}")[0]
        total, first, second = tf.split(sums, [1, x.shape[-1], x.shape[-1]])
        mean = centre + first / total
        variance = tf.maximum(second / total - (first / total) ** 2, 0.0)
        return self._affine(x, mean, variance), mean, variance

    def _affine(self, x: Any, mean: Any, variance: Any) -> Any:
        scale = tf.math.rsqrt(variance + EPSILON)
        return tf.cast(tf.cast(x, tf.float32) * scale + (self.beta.value - mean * scale), x.dtype)


def _values_per_channel(x: Any) -> Any:
    """The number of values in each channel of [batch, height, width, channels], a float32 scalar."""
    return tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), tf.float32)
