"""A small network with the outputs of Inception v3, for tests of what trains it."""

from typing import Any

import keras

from shardtune.model.batchnorm import BatchNormalization, BatchNormMode, BatchNormOptions
from shardtune.model.inception import LOGITS_LAYER
from shardtune.runtime.world import World


def small(
    classes: int,
    side: int,
    *,
    auxiliary: bool = False,
    frozen: bool = False,
    kind: BatchNormMode = "per_worker",
    world: World | None = None,
) -> Any:
    """Images [batch, side, side, 3] → {"logits", "pool", perhaps "aux_logits"}; its first layers perhaps frozen."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 3))
    stride = max(1, side // 4)
    x = keras.layers.Conv2D(8, stride, strides=stride, name="below", trainable=not frozen)(inputs)
    norm = BatchNormalization(BatchNormOptions(kind, world or World()), name="norm")
    norm.trainable = norm.trainable and not frozen
    x = keras.layers.ReLU()(norm(x))
    pool = keras.layers.GlobalAveragePooling2D()(x)
    outputs = {"logits": keras.layers.Dense(classes, name=LOGITS_LAYER)(pool), "pool": pool}
    if auxiliary:
        outputs["aux_logits"] = keras.layers.Dense(classes, name="aux_logits.FC")(pool)
    return keras.Model(inputs, outputs)
