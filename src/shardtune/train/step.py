"""One training step: forward, backward, gradients averaged over all workers, weights and their averages updated."""

from typing import Any, Literal

import keras
import tensorflow as tf

from shardtune.model.averages import Averages
from shardtune.model.inception import LOGITS_LAYER
from shardtune.train.loss_scale import LossScale
from shardtune.world import World

LABEL_SMOOTHING = 0.1  # Szegedy et al. 2015, section 7
AUXILIARY_WEIGHT = 0.4  # research/inception inception_model.loss
DROPOUT = 0.2  # research/inception inception_model.inference


def make_optimizer(name: Literal["sgd", "adam"], model: Any) -> Any:
    """The Keras optimizer with its variables already made: made while tracing, they would be lost."""
    kinds = {"sgd": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True), "adam": keras.optimizers.Adam}
    optimizer = kinds[name]()
    optimizer.build(model.trainable_variables)
    return optimizer


def make_step(
    model: Any,
    optimizer: Any,
    averages: Averages,
    loss_scale: LossScale | None,
    world: World,
    *,
    batch_size: int,
    seed: int,
) -> Any:
    """The compiled step: (step, images, labels, learning rate) → mean loss over all workers, float32.

    The step is int64 and counts from 0, images are float32 [batch_size, side, side, 3], labels int64 [batch_size]. With a
    loss scale (mixed_float16 needs one) a step whose gradients overflow on any worker changes no weight on any.
    """
    variables = model.trainable_variables
    weights = [variable.value for variable in variables]

    def step(step: Any, images: Any, labels: Any, learning_rate: Any) -> Any:
        # What is frozen is not watched, so nothing is computed backwards through it.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs = model(images, training=True)
            logits = model.get_layer(LOGITS_LAYER)(_dropout(outputs["pool"], seed, step, world))
            loss = _cross_entropy(labels, logits)
            if "aux_logits" in outputs:
                loss += AUXILIARY_WEIGHT * _cross_entropy(labels, outputs["aux_logits"])
            scaled = loss * loss_scale.scale if loss_scale else loss
        *gradients, loss = world.mean_tensors([*tape.gradient(scaled, weights), loss])
        optimizer.learning_rate.assign(learning_rate)
        if loss_scale:
            gradients = loss_scale.unscaled(gradients)
            tf.cond(loss_scale.update(gradients), lambda: _apply(optimizer, gradients, variables), lambda: None)
        else:
            _apply(optimizer, gradients, variables)
        averages.update(step)
        return loss

    # autograph=False: there is no Python control flow on tensors here, and tracing takes a third of the time.
    return tf.function(
        step,
        autograph=False,
        input_signature=[
            tf.TensorSpec([], tf.int64),
            tf.TensorSpec([batch_size, *model.input.shape[1:]], tf.float32),
            tf.TensorSpec([batch_size], tf.int64),
            tf.TensorSpec([], tf.float32),
        ],
    )


def _apply(optimizer: Any, gradients: list[Any], variables: list[Any]) -> None:
    optimizer.apply(gradients, variables)


def _dropout(features: Any, seed: int, step: Any, world: World) -> Any:
    """Dropout whose mask is a function of the seed, the step and the example's place in the global batch."""
    batch, width = features.shape
    chance = tf.random.stateless_uniform([world.size * batch, width], tf.stack([tf.constant(seed, tf.int64), step]))
    mine = chance[world.rank * batch : (world.rank + 1) * batch]
    return tf.where(mine >= DROPOUT, features / (1 - DROPOUT), 0.0)


def _cross_entropy(labels: Any, logits: Any) -> Any:
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, on_value=1.0 - LABEL_SMOOTHING, off_value=0.0) + LABEL_SMOOTHING / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def average_moving_statistics(variables: dict[str, Any], world: World) -> None:
    """Give every rank the mean of all ranks' batch-norm statistics, each gathered from its own part of the batches."""
    statistics = [variable for name, variable in variables.items() if "/moving_" in name]
    for variable, mean in zip(statistics, world.mean_tensors([tf.convert_to_tensor(s) for s in statistics]), strict=True):
        variable.assign(mean)
