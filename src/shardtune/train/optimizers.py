"""The optimizers, with weight decay as research/inception has it, where it has one."""

from typing import Any

from shardtune.runtime.frameworks import keras, tf
from shardtune.train.config import Optimizer

MOMENTUM = 0.9
# research/inception inception_train: RMSPROP_DECAY, RMSPROP_MOMENTUM, RMSPROP_EPSILON.
RMSPROP_DECAY, RMSPROP_EPSILON = 0.9, 1.0


def make(name: Optimizer, variables: list[Any], weight_decay: float) -> Any:
    """The Keras optimizer with its slots already made: made while tracing, they would be lost.

    Args:
        name: sgd: Nesterov momentum 0.9. rmsprop: the reference's, as TensorFlow 1 computes it (slots of squares start at
            ones, epsilon stands inside the root). adam, adamw: Kingma and Ba 2015; Loshchilov and Hutter 2019, whose decay
            is apart from the gradients.
        variables: what it trains.
        weight_decay: of AdamW; the others take it from `add_weight_decay`.
    """
    if name == "sgd":
        optimizer = keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True)
    elif name == "rmsprop":
        optimizer = keras.optimizers.RMSprop(rho=RMSPROP_DECAY, momentum=MOMENTUM, epsilon=RMSPROP_EPSILON)
    elif name == "adam":
        optimizer = keras.optimizers.Adam()
    else:
        optimizer = keras.optimizers.AdamW(weight_decay=weight_decay)
        optimizer.exclude_from_weight_decay([variable for variable in variables if not decays(variable)])
    optimizer.build(variables)
    if name == "rmsprop":
        for variable in variables:
            _squares(optimizer, variable).assign(tf.ones(variable.shape))
    return optimizer


def _squares(optimizer: Any, variable: Any) -> Any:
    return optimizer._velocities[optimizer._get_variable_index(variable)]


def add_weight_decay(name: Optimizer, gradients: list[Any], variables: list[Any], weight_decay: float) -> list[Any]:
    """The gradients of the loss + `weight_decay` × ½ Σ w² over the kernels: TensorFlow 1's L2 loss has the factor ½.

    AdamW's decay is its own.
    """
    if name == "adamw" or not weight_decay:
        return gradients
    return [
        gradient + weight_decay * tf.convert_to_tensor(variable) if decays(variable) else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]


def decays(variable: Any) -> bool:
    """Kernels decay; biases and batch normalisation do not (inception/slim/ops.py: conv2d, fc)."""
    return len(variable.shape) > 1
