"""One training step: forward, backward, gradients averaged over all workers, weights updated."""

from typing import Any, Literal

import keras
import tensorflow as tf

from shardtune.world import World

LABEL_SMOOTHING = 0.1  # Szegedy et al. 2015, section 7
AUXILIARY_WEIGHT = 0.4  # research/inception inception_model.loss


def make_optimizer(name: Literal["sgd", "adam"], model: Any) -> Any:
    """The Keras optimizer with its variables already made: made while tracing, they would be lost."""
    kinds = {"sgd": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True), "adam": keras.optimizers.Adam}
    optimizer = kinds[name]()
    optimizer.build(model.trainable_variables)
    return optimizer


def make_step(model: Any, optimizer: Any, world: World, batch_size: int) -> Any:
    """The compiled step: (images, labels, learning rate) → mean loss over all workers, float32.

    Images are float32 [batch_size, side, side, 3], labels int64 [batch_size].
    """
    variables = model.trainable_variables

    def step(images: Any, labels: Any, learning_rate: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = _cross_entropy(labels, outputs["logits"])
            if "aux_logits" in outputs:
                loss += AUXILIARY_WEIGHT * _cross_entropy(labels, outputs["aux_logits"])
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        *gradients, loss = world.mean_tensors([*gradients, loss])
        optimizer.learning_rate.assign(learning_rate)
        optimizer.apply(gradients, variables)
        return loss

    # autograph=False: there is no Python control flow on tensors here, and tracing takes a third of the time.
    return tf.function(
        step,
        autograph=False,
        input_signature=[
            tf.TensorSpec([batch_size, *model.input.shape[1:]], tf.float32),
            tf.TensorSpec([batch_size], tf.int64),
            tf.TensorSpec([], tf.float32),
        ],
    )


def _cross_entropy(labels: Any, logits: Any) -> Any:
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, on_value=1.0 - LABEL_SMOOTHING, off_value=0.0) + LABEL_SMOOTHING / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def average_moving_statistics(model: Any, world: World) -> None:
    """Give every rank the mean of all ranks' batch-norm statistics, each gathered from its own part of the batches."""
    statistics = [
        variable
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    for variable, mean in zip(statistics, world.mean_tensors([s.value for s in statistics]), strict=True):
        variable.assign(mean)
