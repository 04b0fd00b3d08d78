"""The optimizers, and weight decay as in research/inception."""

from typing import Any

from shardtune.runtime.frameworks import keras, tf
from shardtune.train.config import Optimizer

MOMENTUM = 0.9
# research/inception inception_train: RMSPROP_DECAY, RMSPROP_MOMENTUM, RMSPROP_EPSILON.
RMSPROP_DECAY, RMSPROP_EPSILON = 0.9, 1.0


def build_optimizer(name: Optimizer, kernels: list[Any], others: list[Any], weight_decay: float) -> Any:
    """Build the Keras optimizer with its slots: slots that are created while tracing would be lost.

    Args:
        name: sgd: Nesterov momentum 0.9. rmsprop: that of research/inception, as TensorFlow 1 computes it (slots of squares
            start at ones, epsilon is inside the root). adam: Kingma and Ba 2015. adamw: Loshchilov and Hutter 2019, whose
            decay is separate from the gradients.
        kernels, others: the variables to train, in the order in which `apply` gets them. Of kernels alone the weights decay:
            biases and batch normalisation do not (inception/slim/ops.py: conv2d, fc).
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
        optimizer.exclude_from_weight_decay(others)
    variables = kernels + others
    optimizer.build(variables)
    if name == "rmsprop":
        for variable in variables:
            _rms_slot(optimizer, variable).assign(tf.ones(variable.shape))
    return optimizer


def _rms_slot(optimizer: Any, variable: Any) -> Any:
    """The moving mean of squared gradients of `variable`."""
    return optimizer._velocities[optimizer._get_variable_index(variable)]


def add_weight_decay(name: Optimizer, gradients: list[Any], kernels: list[Any], weight_decay: float) -> list[Any]:
    """The gradients of loss + `weight_decay` × ½ Σ w² over the kernels; TensorFlow 1's L2 loss has the factor ½.

    AdamW decays weights itself: its gradients stay as they are.

    Args:
        gradients: of the kernels first.
    """
    if name == "adamw" or not weight_decay:
        return gradients
    decays = [weight_decay * kernel.value for kernel in kernels]
    return [gradient + decay for gradient, decay in zip(gradients, decays, strict=False)] + gradients[len(kernels) :]


def is_kernel(variable: Any) -> bool:
    """Whether a variable is a kernel, of a convolution or a dense layer."""
    return len(variable.shape) > 1
