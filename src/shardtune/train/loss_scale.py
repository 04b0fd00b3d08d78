"""Dynamic loss scaling: what keeps small gradients from vanishing in float16."""

from typing import Any

from shardtune.runtime.frameworks import tf

FIRST = 2.0**15
SMALLEST = 1.0
GROWS_AFTER = 2000  # steps without overflow: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2


class LossScale:
    """A factor for the loss that doubles after 2000 finite steps in a row and halves at each overflow, which skips its step.

    It looks at gradients that are already summed over ranks: an overflow on one of them is then seen by all.

    Attributes:
        variables: its state, by name.
    """

    def __init__(self) -> None:
        self.scale = tf.Variable(FIRST, trainable=False)
        self.finite_steps = tf.Variable(0, trainable=False)
        self.variables = {"loss_scale/scale": self.scale, "loss_scale/finite_steps": self.finite_steps}

    def unscaled(self, gradients: list[Any]) -> list[Any]:
        """The gradients of the loss, given those of `loss × scale`."""
        return [gradient / self.scale for gradient in gradients]

    def update(self, gradients: list[Any]) -> Any:
        """Adapt the scale to this step's gradients, and say whether all are finite."""
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        count = tf.where(finite, self.finite_steps + 1, 0)
        grows = count >= GROWS_AFTER
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        self.scale.assign(tf.maximum(self.scale * factor, SMALLEST))
        self.finite_steps.assign(tf.where(grows, 0, count))
        return finite
