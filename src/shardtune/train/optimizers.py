"""The optimizers, and weight decay as in research/inception."""

from typing import Any

from shardtune.runtime.frameworks import keras, tf
from shardtune.train.config import Optimizer

MOMENTUM = 0.9
# research/inception inception_train: RMSPROP_DECAY, RMSPROP_MOMENTUM, RMSPROP_EPSILON.
RMSPROP_DECAY, RMSPROP_EPSILON = 0.9, 1.0


def build_optimizer(name: Optimizer, variables: list[Any], decays: list[bool], weight_decay: float) -> Any:
    """Build the Keras optimizer with its slots: slots that are created while tracing would be lost.

    Args:
        name: sgd: Nesterov momentum 0.9. rmsprop: that of research/inception, as TensorFlow 1 computes it (slots of squares
            start at ones, epsilon is inside the root). adam: Kingma and Ba 2015. adamw: Loshchilov and Hutter 2019, whose
            decay is separate from the gradients.
        variables: the variables to train.
        decays: whether each decays, for AdamW.
        weight_decay: of AdamW; the others get it from `add_weight_decay`.
    """
    if name == "sgd":
        optimizer = keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True)
    elif name == "rmsprop":
        optimizer = keras.optimizers.RMSprop(rho=RMSPROP_DECAY, momentum=MOMENTUM, epsilon=RMSPROP_EPSILON)
    elif name == "adam":
        optimizer = keras.optimizers.Adam()
    else:
        optimizer = keras.optimizers.AdamW(weight_decay=weight_decay)
        optimizer.exclude_from_weight_decay([variable for variable, does in zip(variables, decays, strict=True) if not does])
    optimizer.build(variables)
    if name == "rmsprop":
        for variable in variables:
            _rms_slot(optimizer, variable).assign(tf.ones(variable.shape))
    return optimizer


def _rms_slot(optimizer: Any, variable: Any) -> Any:
    """The moving mean of squared gradients of `variable`."""
    return optimizer._velocities[optimizer._get_variable_index(variable)]


def add_weight_decay(
    name: Optimizer, gradients: list[Any], variables: list[Any], decays: list[bool], weight_decay: float
) -> list[Any]:
    """The gradients of loss + `weight_decay` × ½ Σ w² over what decays; TensorFlow 1's L2 loss has the factor ½.

    AdamW decays weights itself: its gradients stay as they are.
    """
    if name == "adamw" or not weight_decay:
        return gradients
    return [
        gradient + weight_decay * variable.value if does else gradient
        for gradient, variable, does in zip(gradients, variables, decays, strict=True)
    ]


def is_kernel(variable: Any) -> bool:
    """Whether a variable is a kernel. Biases and batch normalisation do not decay (inception/slim/ops.py: conv2d, fc)."""
    return len(variable.shape) > 1
