"""What an export computes, as TensorFlow functions: from files, images or crops to probabilities and names of classes."""

from functools import partial
from pathlib import Path
from typing import Any

from shardtune.export.trained import TrainedModel
from shardtune.input.augment import central_crop, central_crop_of_decoded, to_network_range
from shardtune.runtime.frameworks import tf

TOP = 5


class Functions:
    """The functions of a trained model.

    Attributes:
        probabilities: float32 [n, size, size, 3] in −1 to 1 → float32 [n, classes], computed as `eval` computes logits.
        of_crops: {"crops": float32 [n, size, size, 3] in 0 to 255} → {"probabilities": float32 [n, classes]}.
        of_images: the same of {"images": float32 [n, h, w, 3]}, whole images, of which it takes the central crop.
        signatures: of a SavedModel. "crops" is `of_crops`; the others give {"classes": string [n, k], "probabilities": float32
            [n, k]}, the most probable first, k = 5 or all classes.
    """

    def __init__(self, trained: TrainedModel) -> None:
        network, size = trained.network, trained.image_size
        crops, images = ([None, side, side, 3] for side in (size, None))
        self._variables = [variable.value for variable in network.variables]
        # The others call this one, so that a SavedModel holds the network once.
        self.probabilities = probabilities = _function(
            lambda crops: tf.nn.softmax(network(crops, training=False)["logits"][:, trained.first_class :]),
            tf.TensorSpec(crops, tf.float32),
        )
        names, top = tf.constant(trained.classes), min(TOP, len(trained.classes))

        def best(crops: Any) -> dict[str, Any]:
            values, indices = tf.math.top_k(probabilities(crops), top)
            return {"classes": tf.gather(names, indices), "probabilities": values}

        def best_of_files(files: Any) -> dict[str, Any]:
            crop = partial(crop_of_file, size=size)
            return best(tf.map_fn(crop, files, fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32)))

        def best_of_examples(examples: Any) -> dict[str, Any]:
            features = tf.io.parse_example(examples, {"image/encoded": tf.io.FixedLenFeature([], tf.string)})
            return best_of_files(features["image/encoded"])

        self.of_crops = _function(
            lambda crops: {"probabilities": probabilities(to_network_range(crops))}, tf.TensorSpec(crops, tf.float32, "crops")
        )
        self.of_images = _function(
            lambda images: {"probabilities": probabilities(central_crop_of_decoded(images, size))},
            tf.TensorSpec(images, tf.float32, "images"),
        )
        self.signatures = {
            "serving_default": _function(best_of_files, tf.TensorSpec([None], tf.string, "files")),
            "images": _function(
                lambda images: best(central_crop_of_decoded(images, size)), tf.TensorSpec(images, tf.float32, "images")
            ),
            "examples": _function(best_of_examples, tf.TensorSpec([None], tf.string, "examples")),
            "crops": self.of_crops,
        }

    def save(self, signatures: Any, folder: Path | str) -> None:
        """Write a SavedModel with these signatures: one of the functions, or several by name."""
        module = tf.Module()
        module.variables_of_network = self._variables  # what a function uses is saved only if it is an attribute
        tf.saved_model.save(module, str(folder), signatures=signatures)


def _function(function: Any, argument: Any) -> Any:
    return tf.function(function, autograph=False, input_signature=[argument])


def crop_of_file(data: Any, size: int) -> Any:
    """The central crop of an image file: float32 [size, size, 3] in −1 to 1. Of an RGB JPEG, the bits that `eval` sees."""

    def decoded() -> Any:
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return central_crop_of_decoded(image, size)

    return tf.cond(tf.io.is_jpeg(data), lambda: central_crop(data, size), decoded)
