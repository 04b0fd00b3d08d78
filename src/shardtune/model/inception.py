"""Inception v3 (Szegedy et al. 2015, arXiv:1512.00567) as in research/inception.

Layers and variables have the names of the 2016 release, whatever names Keras gives them.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Any, Literal

from shardtune.errors import UsageError
from shardtune.model.batchnorm import BatchNormalization, BatchNormOptions
from shardtune.runtime.frameworks import keras

# The auxiliary head pools mixed7 with a 5×5 window. At 106 pixels mixed7 is only 4×4.
SMALLEST_SIZE_WITH_AUXILIARY_HEAD = 107
LOGITS_LAYER = "logits.logits"
LOGITS_BIASES = "logits/logits/biases"
HEAD_PREFIXES = ("logits/logits/", "aux_logits/FC/")
WHOLE_TRUNK = "mixed10"
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]

# The trunk's convolutions in the order in which keras.applications creates them, by their names in the 2016 release.
# "branch5x5:2" stands for branch5x5/Conv and branch5x5/Conv_1.
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
# Names of variables: in Keras, and in the release.
_VARIABLES = {"kernel": "weights", "bias": "biases"}
# Standard deviations of the truncated normal initial weights: research/inception inception_model and slim/inception_model.
_STDDEVS = {"aux_logits.Conv": 0.01, "aux_logits.FC": 0.001, "logits.logits": 0.01}
_STDDEV = 0.1


def trunk_names() -> list[str]:
    """The 94 convolutions below the heads, in the order of the paper's figures, which is also Keras's order of creation."""
    names = list(_STEM)
    for blocks, branches in _BLOCKS.items():
        for block in blocks.split():
            for branch, count in (part.split(":") for part in branches.split()):
                names += [f"{block}/{branch}/Conv" + (f"_{i}" if i else "") for i in range(int(count))]
    return names


def build(
    num_classes: int,
    image_size: int,
    *,
    seed: int = 0,
    precision: Precision = "float32",
    batch_norm: BatchNormOptions | None = None,
    freeze_until: str | None = None,
    auxiliary_head: bool = True,
) -> Any:
    """The untrained network from images to logits, without dropout, which the training step adds.

    Args:
        num_classes: outputs, the background class 0 included.
        image_size: side of the images in pixels, 75 or more.
        seed: of the initial weights.
        precision: of activations and convolutions; variables, normalisation, pooled features and logits are float32.
        batch_norm: None stands for `BatchNormOptions()`.
        freeze_until: this block (mixed0 … mixed10) and all layers below it do not train; their batch normalisation
            uses its moving moments.
        auxiliary_head: which only training needs, and whose largest kernel depends on the image size.

    Returns:
        A Keras model: float32 [batch, image_size, image_size, 3] in −1 to 1 → {"logits": [batch, num_classes], "pool":
        [batch, 2048], "aux_logits": [batch, num_classes], absent below 107 pixels or on request}, all float32.

    Raises:
        UsageError: freeze_until is not the name of a block.
    """
    layers = _LayerFactory(seed, precision, batch_norm or BatchNormOptions())
    trunk = layers.trunk(image_size)
    pool = keras.layers.GlobalAveragePooling2D(name="pool", dtype="float32")(trunk.output)
    outputs = {"logits": layers.dense(num_classes, LOGITS_LAYER)(pool), "pool": pool}
    if auxiliary_head and image_size >= SMALLEST_SIZE_WITH_AUXILIARY_HEAD:
        x = keras.layers.AveragePooling2D(5, strides=3, dtype=precision)(trunk.get_layer("mixed7").output)
        for name, filters, kernel in (("aux_logits.proj", 128, (1, 1)), ("aux_logits.Conv", 768, x.shape[1:3])):
            x = layers.convolution(name, filters=filters, kernel_size=kernel, use_bias=False)(x)
            x = keras.layers.ReLU(dtype=precision)(layers.norm(name)(x))
        outputs["aux_logits"] = layers.dense(num_classes, "aux_logits.FC")(keras.layers.Flatten(dtype="float32")(x))
    model = keras.Model(trunk.input, outputs)
    if freeze_until is not None:
        _freeze(model, freeze_until)
    return model


@dataclass(frozen=True)
class _LayerFactory:
    """Makes layers of one precision. Their initial weights depend only on the seed and their names."""

    seed: int
    precision: Precision
    batch_norm: BatchNormOptions

    def convolution(self, name: str, **options: Any) -> Any:
        return keras.layers.Conv2D(
            **{**options, "name": name, "dtype": self.precision, "kernel_initializer": self._initializer(name)}
        )

    def norm(self, name: str) -> Any:
        return BatchNormalization(self.batch_norm, name=f"{name}.BatchNorm", dtype=self.precision)

    def dense(self, num_classes: int, name: str) -> Any:
        return keras.layers.Dense(num_classes, name=name, dtype="float32", kernel_initializer=self._initializer(name))

    def trunk(self, image_size: int) -> Any:
        """keras.applications' graph without its head, with the layers of this factory."""
        original = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(image_size, image_size, 3))
        names = {
            layer.name: name.replace("/", ".")
            for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization)
            for name, layer in zip(trunk_names(), _in_creation_order(original, kind), strict=True)
        }

        def clone_layer(layer: Any) -> Any:
            if isinstance(layer, keras.layers.BatchNormalization):
                return self.norm(names[layer.name])
            if isinstance(layer, keras.layers.Conv2D):
                return self.convolution(**{**layer.get_config(), "name": names[layer.name]})
            return type(layer).from_config({**layer.get_config(), "dtype": self.precision})

        return keras.models.clone_model(original, clone_function=clone_layer)

    def _initializer(self, name: str) -> Any:
        seed = zlib.crc32(f"{self.seed} {name}".encode())
        return keras.initializers.TruncatedNormal(stddev=_STDDEVS.get(name, _STDDEV), seed=seed)


def _in_creation_order(model: Any, kind: type) -> list[Any]:
    """The layers of one class in the order of their creation; model.layers is in the order of their depth in the graph.

    Keras numbers unnamed layers by a counter of the process: conv2d, conv2d_1, … or conv2d_94, conv2d_95, ….
    """
    layers = [layer for layer in model.layers if isinstance(layer, kind)]
    return sorted(layers, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0]))


def _freeze(model: Any, name: str) -> None:
    blocks = [layer.name for layer in model.layers if re.fullmatch(r"mixed\d+", layer.name)]
    if name not in blocks:
        raise UsageError(f"Inception v3 has no block {name!r} for --freeze_until.", f"Choose one of {', '.join(blocks)}.")
    for layer in keras.Model(model.input, model.get_layer(name).output).layers:
        layer.trainable = False


def named_variables(model: Any) -> dict[str, Any]:
    """Every variable of a model made by `build`, by its name in the 2016 release: 388 at 299 pixels."""
    return _named(model.layers)


def updated_variables(model: Any) -> dict[str, Any]:
    """The variables that training changes: weights and moving moments of the layers that are not frozen."""
    return _named(layer for layer in model.layers if layer.trainable)


def _named(layers: Any) -> dict[str, Any]:
    return {
        f"{layer.name}.{_VARIABLES.get(variable.name, variable.name)}".replace(".", "/"): variable
        for layer in layers
        for variable in layer.weights
    }
