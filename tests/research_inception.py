"""Shards with the fields that the builders of TensorFlow's research/inception (2016) wrote, all of them and no others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from shardtune.dataset.splits import Split
from tests.pictures import encoded, picture
from tests.records import by_tensorflow

NAMES = {1: "daisy", 2: "rose", 3: "sunflower", 4: "tulip"}
SIDES = ("xmin", "xmax", "ymin", "ymax")


def image_example(label: int, number: int = 0, text: str = "") -> tf.train.Example:
    """As build_image_data: nine fields."""
    image = picture(np.random.default_rng([label, number]))
    return by_tensorflow(
        {
            "image/height": [image.height],
            "image/width": [image.width],
            "image/colorspace": [b"RGB"],
            "image/channels": [3],
            "image/class/label": [label],
            "image/class/text": [(text or NAMES[label]).encode()],
            "image/format": [b"JPEG"],
            "image/filename": [b"%d.jpg" % number],
            "image/encoded": [encoded(image)],
        }
    )


def imagenet_example(label: int, number: int = 0) -> tf.train.Example:
    """As build_imagenet_data: also the synset, and boxes, of which every other image has none."""
    example = image_example(label, number, f"{NAMES[label]}, a flower")
    feature = example.features.feature
    feature["image/class/synset"].bytes_list.value.append(b"n%08d" % label)
    boxes = [(0.1, 0.9, 0.25, 0.75), (0.0, 1.0, 0.0, 0.5)][: 2 * (number % 2)]
    for position, side in enumerate(SIDES):
        values = tf.train.FloatList(value=[box[position] for box in boxes])
        feature[f"image/object/bbox/{side}"].CopyFrom(tf.train.Feature(float_list=values))
    labels = tf.train.Int64List(value=[label] * len(boxes))
    feature["image/object/bbox/label"].CopyFrom(tf.train.Feature(int64_list=labels))
    return example


def write_split(directory: Path, split: Split, shards: Sequence[Sequence[tf.train.Example]]) -> None:
    """One file for each of `shards`, as both builders named them."""
    directory.mkdir(exist_ok=True)
    for number, examples in enumerate(shards):
        with tf.io.TFRecordWriter(str(directory / f"{split}-{number:05d}-of-{len(shards):05d}")) as writer:
            for example in examples:
                writer.write(example.SerializeToString())
