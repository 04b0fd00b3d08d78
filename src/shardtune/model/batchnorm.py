"""Batch normalisation as the 2016 graph has it: without a scale, over one worker's part of the batch or over all of them.

Ioffe and Szegedy 2015, arXiv:1502.03167. The arithmetic is float32 whatever the precision of the activations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from shardtune.runtime.frameworks import keras, tf
from shardtune.runtime.world import World

EPSILON = 0.001  # research/inception inception_model.inference
BatchNormMode = Literal["per_worker", "synced", "frozen"]

_weight: ContextVar[Any] = ContextVar("weight", default=1.0)


@contextmanager
def examples_weighted(weight: Any) -> Iterator[None]:
    """Meanwhile synced moments count each example of this worker `weight` times (float32 scalar): 0 for examples that only
    keep a worker in step with others that have more."""
    token = _weight.set(weight)
    try:
        yield
    finally:
        _weight.reset(token)


class BatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Normalises each channel of [batch, height, width, channels], then adds `beta`.

    While it trains, the moments are those of the batch: of this worker's examples (per_worker), or of the examples of
    all workers, each counted once, however many a worker has (synced). Otherwise they are the moving ones.

    Args:
        kind: frozen never trains, but lets gradients through to what lies below.
        decay: of the moving mean and variance, `new = decay × old + (1 − decay) × batch`; the variance is the biased one.
        world: whose examples synced moments count.
    """

    def __init__(self, kind: BatchNormMode, decay: float, world: World, **options: Any) -> None:
        super().__init__(trainable=kind != "frozen", **options)
        self.kind, self.decay, self.world = kind, decay, world

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
            output, mean, variance = self._synced(x) if self.kind == "synced" else self._fused(x)
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(self.decay * moving.value + (1 - self.decay) * batch)
            return output
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training and self.kind == "frozen":
            # TensorFlow cannot differentiate its fused operation with fixed moments on a GPU in deterministic mode.
            return self._affine(x, mean, variance)
        return self._fused(x, mean, variance)[0]

    def _fused(self, x: Any, mean: Any = None, variance: Any = None) -> tuple[Any, Any, Any]:
        """One operation, more than twice as fast as its parts in bfloat16. Given no moments, it takes the batch's."""
        output, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x, tf.ones_like(self.beta.value), self.beta.value, mean, variance, EPSILON, is_training=mean is None
        )
        count = _examples(x)
        return output, mean, variance * (count - 1) / count  # it gives the unbiased variance

    def _synced(self, x: Any) -> tuple[Any, Any, Any]:
        # Sums of squares cancel least around a value near the mean that all workers know.
        centre = self.moving_mean.value
        count = _examples(x) * _weight.get()
        mean, variance = tf.nn.moments(tf.cast(x, tf.float32), [0, 1, 2])
        distance = mean - centre
        mine = tf.concat([[count], count * distance, count * (variance + distance**2)], 0)
        sums = self.world.allreduce_sum([mine], f"moments.{self.name}")[0]
        total, first, second = tf.split(sums, [1, x.shape[-1], x.shape[-1]])
        mean = centre + first / total
        variance = tf.maximum(second / total - (first / total) ** 2, 0.0)
        return self._affine(x, mean, variance), mean, variance

    def _affine(self, x: Any, mean: Any, variance: Any) -> Any:
        scale = tf.math.rsqrt(variance + EPSILON)
        return tf.cast(tf.cast(x, tf.float32) * scale + (self.beta.value - mean * scale), x.dtype)


def _examples(x: Any) -> Any:
    """How many values a channel of [batch, height, width, channels] has, float32."""
    return tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), tf.float32)
