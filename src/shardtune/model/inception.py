"""Inception v3 (Szegedy et al. 2015, arXiv:1512.00567) as research/inception had it.

Its variables go by the names of the 2016 release, whatever Keras calls them.
"""

import re
from typing import Any

import keras

from shardtune.errors import UsageError

DROPOUT = 0.2
# mixed7 is 17×17 at 299 pixels; the auxiliary head pools it 5×5 with stride 3, and 106 pixels leave a map of 4×4.
SMALLEST_SIZE_WITH_AUXILIARY_HEAD = 107
FINAL_LAYERS = ("logits/logits", "aux_logits/FC")

# The convolutions of keras.applications' trunk in the order in which it makes them, by the names of the 2016 graph.
_STEM = [f"conv{i}" for i in range(5)]
_BLOCKS = {
    "mixed_35x35x256a mixed_35x35x288a mixed_35x35x288b": "branch1x1:1 branch5x5:2 branch3x3dbl:3 branch_pool:1",
    "mixed_17x17x768a": "branch3x3:1 branch3x3dbl:3",
    "mixed_17x17x768b mixed_17x17x768c mixed_17x17x768d mixed_17x17x768e": (
        "branch1x1:1 branch7x7:3 branch7x7dbl:5 branch_pool:1"
    ),
    "mixed_17x17x1280a": "branch3x3:2 branch7x7x3:4",
    "mixed_8x8x2048a mixed_8x8x2048b": "branch1x1:1 branch3x3:3 branch3x3dbl:4 branch_pool:1",
}


def _trunk_names() -> list[str]:
    names = list(_STEM)
    for blocks, branches in _BLOCKS.items():
        for block in blocks.split():
            for branch, count in (part.split(":") for part in branches.split()):
                names += [f"{block}/{branch}/Conv" + (f"_{i}" if i else "") for i in range(int(count))]
    return names


def build(num_classes: int, image_size: int, *, batch_norm_decay: float, seed: int, freeze_until: str | None = None) -> Any:
    """The network from images to logits, untrained.

    Args:
        num_classes: outputs, the background class 0 included.
        image_size: side of the images in pixels, 75 or more.
        batch_norm_decay: decay of the moving statistics.
        seed: decides the initial weights.
        freeze_until: this layer (mixed0 … mixed10) and all below it do not train; their batch normalisation
            uses its moving statistics.

    Returns:
        A Keras model: float32 [batch, image_size, image_size, 3] in −1 to 1 → {"logits": [batch, num_classes], "pool":
        [batch, 2048], "aux_logits": as logits, absent below 107 pixels}.
    """
    keras.utils.set_random_seed(seed)
    trunk = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(image_size, image_size, 3))
    pool = keras.layers.GlobalAveragePooling2D(name="pool")(trunk.output)
    dropped = keras.layers.Dropout(DROPOUT, seed=seed)(pool)
    outputs = {"logits": keras.layers.Dense(num_classes, name="logits")(dropped), "pool": pool}
    if image_size >= SMALLEST_SIZE_WITH_AUXILIARY_HEAD:
        outputs["aux_logits"] = _auxiliary_head(trunk.get_layer("mixed7").output, num_classes)
    model = keras.Model(trunk.input, outputs)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batch_norm_decay
    if freeze_until is not None:
        _freeze(model, freeze_until)
    return model


def _auxiliary_head(features: Any, num_classes: int) -> Any:
    x = keras.layers.AveragePooling2D(5, strides=3, name="aux_pool")(features)
    x = _convolution(x, 128, (1, 1), "aux_proj")
    x = _convolution(x, 768, (x.shape[1], x.shape[2]), "aux_conv")
    return keras.layers.Dense(num_classes, name="aux_logits")(keras.layers.Flatten(name="aux_flatten")(x))


def _convolution(x: Any, filters: int, kernel: tuple[int, int], name: str) -> Any:
    x = keras.layers.Conv2D(filters, kernel, padding="valid", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(scale=False, name=f"{name}_batch_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _freeze(model: Any, name: str) -> None:
    blocks = [layer.name for layer in model.layers if re.fullmatch(r"mixed\d+", layer.name)]
    if name not in blocks:
        raise UsageError(f"freeze_until names a block of Inception v3, one of {', '.join(blocks)}, not {name!r}.")
    for layer in keras.Model(model.input, model.get_layer(name).output).layers:
        layer.trainable = False


def named_variables(model: Any) -> dict[str, Any]:
    """Every variable of a model made by `build`, by its name in the 2016 release (388 at 299 pixels)."""
    named: dict[str, Any] = {}
    pairs = list(zip(_trunk_names(), _trunk_layers(model, "Conv2D"), _trunk_layers(model, "BatchNormalization"), strict=True))
    if "aux_logits" in model.output:
        for name, layer in (("aux_logits/proj", "aux_proj"), ("aux_logits/Conv", "aux_conv")):
            pairs.append((name, model.get_layer(layer), model.get_layer(f"{layer}_batch_norm")))
    for name, convolution, norm in pairs:
        named[f"{name}/weights"] = convolution.kernel
        for part in ("beta", "moving_mean", "moving_variance"):
            named[f"{name}/BatchNorm/{part}"] = getattr(norm, part)
    for name, layer in zip(FINAL_LAYERS, ("logits", "aux_logits"), strict=True):
        if layer in model.output:
            named[f"{name}/weights"] = model.get_layer(layer).kernel
            named[f"{name}/biases"] = model.get_layer(layer).bias
    return named


def _trunk_layers(model: Any, kind: str) -> list[Any]:
    """The trunk's layers of one class in the order of their making; model.layers has another, by depth in the graph.

    Keras numbers the unnamed layers from a counter that never restarts: conv2d, conv2d_1, … or conv2d_94, ….
    """
    layers = [layer for layer in model.layers if type(layer).__name__ == kind and not layer.name.startswith("aux_")]
    return sorted(layers, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0]))
