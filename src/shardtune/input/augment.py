"""From the JPEG bytes of one image to the input of the network. TensorFlow ops only; no state.

The same seed gives the same image on every machine, except for the last bits of a float on different processors.
"""

from functools import partial
from typing import Any

from shardtune.config import Augmentation
from shardtune.runtime.frameworks import tf

# Of height and width, which evaluation keeps: research/inception image_processing.eval_image.
CENTRAL_FRACTION = 0.875
ASPECTS = (0.75, 1.33)  # of crops, width / height: research/inception image_processing.distort_image
RESIZE_METHODS = ("bilinear", "nearest", "bicubic", "area")
MIN_OBJECT_COVERED = 0.1
MAX_ATTEMPTS = 100


def training_image(jpeg: Any, boxes: Any, size: int, augmentation: Augmentation, seed: Any) -> Any:
    """The image as training sees it under `--augment`: float32 [size, size, 3] in −1 to 1.

    Args:
        jpeg: string, the bytes of an RGB JPEG.
        boxes: float32 [n, 4], n ≥ 0: ymin, xmin, ymax, xmax of each object, in 0 to 1 of height and width. Used by
            "inception" alone.
        seed: int64 [2]; the image is a function of it.
    """
    if augmentation == "inception":
        return inception_distortions(jpeg, boxes, size, seed)
    return light_augmentation(jpeg, size, seed) if augmentation == "light" else central_crop(jpeg, size)


def central_crop(jpeg: Any, size: int) -> Any:
    """The central 87.5 % of height and width, resized bilinearly: float32 [size, size, 3] in −1 to 1."""
    return to_network_range(_resize(central_part(jpeg), size))


def central_part(jpeg: Any) -> Any:
    """The central 87.5 % of height and width, uint8 [h, w, 3].

    At its edge, colours may differ from those of the image when it is decoded as a whole: there they are interpolated from
    colours beyond the edge, too.
    """
    begin, extent = _central_box(tf.io.extract_jpeg_shape(jpeg)[:2])
    return _decode(jpeg, begin, extent)


def central_crop_of_decoded(images: Any, size: int) -> Any:
    """The same of decoded images, [..., h, w, 3] in 0 to 255, uint8 or float32: float32 [..., size, size, 3] in −1 to 1."""
    begin, extent = _central_box(tf.shape(images)[-3:-1])
    rows, columns = (slice(begin[side], begin[side] + extent[side]) for side in (0, 1))
    return to_network_range(_resize(images[..., rows, columns, :], size))


def light_augmentation(jpeg: Any, size: int, seed: Any) -> Any:
    """A crop of 35 to 100 % of the area, a flip, ±16/255 of brightness, and ±10 % of each colour.

    For fine-tuning: mild, and cheap. Shapes as `training_image`.
    """
    image = random_crop(jpeg, tf.zeros([0, 4]), _derive_seed(seed, 0), min_area=0.35)
    flip, brightness, *gains = tf.unstack(tf.random.stateless_uniform([5], _derive_seed(seed, 1)))
    image = _resize(_flip(image, flip < 0.5), size)
    # Rows of all channels side by side: an innermost axis of 3 would cost several times as much.
    rows = tf.reshape(image, (size, size * 3))
    rows = rows * tf.tile((0.9 + 0.2 * tf.stack(gains)) / 127.5, [size]) + ((brightness - 0.5) * 32 / 127.5 - 1)
    return tf.reshape(tf.clip_by_value(rows, -1.0, 1.0), (size, size, 3))


def inception_distortions(jpeg: Any, boxes: Any, size: int, seed: Any) -> Any:
    """The distortions of research/inception's image_processing.distort_image, in its ranges. Shapes as `training_image`.

    The reference chooses the resize method (one of four) and the order of colour changes (one of two) by the number of the
    thread; here both are random.
    """
    seeds = [_derive_seed(seed, number) for number in range(7)]
    crop = random_crop(jpeg, boxes, seeds[0], min_area=0.05)
    method = tf.random.stateless_uniform([], seeds[1], 0, len(RESIZE_METHODS), tf.int32)
    flip, order = tf.unstack(tf.random.stateless_uniform([2], seeds[2]))
    crop = _flip(crop, flip < 0.5)
    image = tf.switch_case(method, [partial(_resize, crop, size, name) for name in RESIZE_METHODS])
    image = tf.image.stateless_random_brightness(image / 255, 32 / 255, seeds[3])

    def saturation_and_hue(image: Any) -> Any:
        return tf.image.stateless_random_hue(tf.image.stateless_random_saturation(image, 0.5, 1.5, seeds[4]), 0.2, seeds[5])

    def contrast(image: Any) -> Any:
        return tf.image.stateless_random_contrast(image, 0.5, 1.5, seeds[6])

    image = tf.cond(order < 0.5, lambda: contrast(saturation_and_hue(image)), lambda: saturation_and_hue(contrast(image)))
    return tf.clip_by_value(image, 0.0, 1.0) * 2.0 - 1.0


def _derive_seed(seed: Any, number: int) -> Any:
    """The seed number `number` of several made from one. tf.random.split does that too, but takes as long as a flip."""
    return seed + tf.constant([number, 0], tf.int64)


def random_crop(jpeg: Any, boxes: Any, seed: Any, *, min_area: float) -> Any:
    """A random part of the image, uint8 [h, w, 3], that shows at least a tenth of one of `boxes`, if there are any."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(jpeg),
        boxes[tf.newaxis],
        seed,
        min_object_covered=MIN_OBJECT_COVERED,
        aspect_ratio_range=ASPECTS,
        area_range=(min_area, 1.0),
        max_attempts=MAX_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return _decode(jpeg, begin[:2], extent[:2])


def _central_box(shape: Any) -> tuple[Any, Any]:
    """Where the central crop of an image of `shape` (int32 [2]: height, width) begins, and its height and width."""
    begin = tf.cast(tf.cast(shape, tf.float64) * ((1 - CENTRAL_FRACTION) / 2), tf.int32)
    return begin, shape - 2 * begin


def _decode(jpeg: Any, begin: Any, extent: Any) -> Any:
    """This part of the image, uint8 [h, w, 3]. The rows below it are not decoded at all."""
    return tf.io.decode_and_crop_jpeg(jpeg, tf.concat([begin, extent], 0), channels=3)


def _resize(image: Any, size: int, method: str = "bilinear") -> Any:
    """float32 [size, size, 3] in 0 to 255; bicubic overshoots."""
    return tf.cast(tf.image.resize(image, (size, size), method), tf.float32)


def to_network_range(images: Any) -> Any:
    """From 0 to 255 to −1 to 1."""
    # Not a division: TensorFlow makes it this multiplication in some graphs and not in others, and last bits would differ.
    return images * (1 / 127.5) - 1.0


def _flip(image: Any, condition: Any) -> Any:
    """The image, mirrored if `condition`. Before resizing, while pixels are bytes, that takes half the time."""
    return tf.cond(condition, lambda: tf.reverse(image, [1]), lambda: image)
