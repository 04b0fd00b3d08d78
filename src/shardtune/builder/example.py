"""The example of one image: the fields of research/inception's build_image_data.py, for words and boxes
those of its build_imagenet_data.py, and image/path."""

from collections.abc import Sequence

from shardtune.builder.boxes import Box
from shardtune.dataset.example import Feature, encode_example
from shardtune.images.stored import StoredImage


def image_example(image: StoredImage, path: str, label: int, name: str, words: str = "", boxes: Sequence[Box] = ()) -> bytes:
    """The serialized example of one image.

    Args:
        image: the JPEG to store.
        path: relative to the split's directory; stored as image/path, which traces the example to its file.
        label: class number, from 1.
        name: class name.
        words: what people call the class: stored as image/class/text, and the name then as image/class/synset.
        boxes: objects in the image; boxes without a label get the image's label.
    """
    features: dict[str, Feature] = {
        "image/height": [image.height],
        "image/width": [image.width],
        "image/colorspace": [b"RGB"],
        "image/channels": [3],
        "image/class/label": [label],
        "image/class/text": [(words or name).encode()],
        "image/format": [b"JPEG"],
        "image/filename": [path.rpartition("/")[2].encode()],
        "image/path": [path.encode()],
        "image/encoded": [image.jpeg],
    }
    if words:
        features["image/class/synset"] = [name.encode()]
    if boxes:
        for side in ("xmin", "xmax", "ymin", "ymax"):
            features[f"image/object/bbox/{side}"] = [getattr(box, side) for box in boxes]
        features["image/object/bbox/label"] = [label if box.label is None else box.label for box in boxes]
    return encode_example(features)
