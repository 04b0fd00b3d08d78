"""Dynamic loss scaling, which keeps small gradients from vanishing in float16."""

from typing import Any

from shardtune.runtime.frameworks import tf

INITIAL_SCALE = 2.0**15
MIN_SCALE = 1.0
GROWTH_STEPS = 2000  # without overflow: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2


class LossScale:
    """A factor for the loss. It doubles after GROWTH_STEPS finite steps in a row and halves at each overflow; that step is
    skipped.

    It looks at gradients that are summed over ranks already, so that all ranks see an overflow on one of them.

    Attributes:
        variables: its state, by name.
    """

    def __init__(self) -> None:
        self.scale = tf.Variable(INITIAL_SCALE, trainable=False)
        self.finite_steps = tf.Variable(0, trainable=False)
        self.variables = {"loss_scale/scale": self.scale, "loss_scale/finite_steps": self.finite_steps}

    def unscale(self, gradients: list[Any]) -> list[Any]:
        """The gradients of the loss, from those of `loss × scale`."""
        return [gradient / self.scale for gradient in gradients]

    def update(self, gradients: list[Any]) -> Any:
        """Adapt the scale to this step's gradients, and return whether all are finite (bool scalar)."""
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        count = tf.where(finite, self.finite_steps + 1, 0)
        grows = count >= GROWTH_STEPS
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        self.scale.assign(tf.maximum(self.scale * factor, MIN_SCALE))
        self.finite_steps.assign(tf.where(grows, 0, count))
        return finite
