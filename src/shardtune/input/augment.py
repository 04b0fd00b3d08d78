"""What happens to one image between its JPEG bytes and the network. TensorFlow ops only; no state."""

from typing import Any, Literal

import tensorflow as tf

# The share of height and width that evaluation looks at: research/inception image_processing.eval_image.
CENTRAL_FRACTION = 0.875


def central(jpeg: Any, size: int) -> Any:
    """The central 87.5 % of height and width, resized bilinearly: float32 [size, size, 3] in −1 to 1."""
    image = tf.image.central_crop(tf.io.decode_jpeg(jpeg, channels=3), CENTRAL_FRACTION)
    return _scale(tf.image.resize(image, (size, size)))


def light(jpeg: Any, size: int, seed: Any) -> Any:
    """A random crop of 35 to 100 % of the area, a random flip, mild colour changes; a function of `seed`, int64 [2].

    Returns float32 [size, size, 3] in −1 to 1.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(jpeg),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seeds[0],
        aspect_ratio_range=(0.75, 1.33),
        area_range=(0.35, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([begin[:2], extent[:2]], 0)
    image = tf.image.resize(tf.io.decode_and_crop_jpeg(jpeg, window, channels=3), (size, size))
    image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    image = tf.image.stateless_random_brightness(image, 16.0, seeds[2])
    image = tf.image.stateless_random_saturation(image, 0.8, 1.2, seeds[3])
    return _scale(tf.clip_by_value(image, 0.0, 255.0))


def training_image(jpeg: Any, size: int, augment: Literal["light", "none"], seed: Any) -> Any:
    """The image as training sees it under `--augment`."""
    return light(jpeg, size, seed) if augment == "light" else central(jpeg, size)


def _scale(image: Any) -> Any:
    return image / 127.5 - 1.0
