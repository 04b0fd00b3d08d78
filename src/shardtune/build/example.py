"""tf.train.Example in protocol-buffer wire format, without TensorFlow.

The schema is tensorflow/core/example/{example,feature}.proto; the nine fields are those of research/inception's
build_image_data.py. Written by hand because these few lines are all of it, and importing TensorFlow takes seconds.
"""

from collections.abc import Mapping

from shardtune.build.images import StoredImage

Feature = bytes | int


def image_example(image: StoredImage, path: str, label: int, text: str) -> bytes:
    """The serialized example of one image.

    Args:
        image: what to store.
        path: relative to the split's directory; goes to image/filename, and so traces the example to its file.
        label: class number, from 1.
        text: class name.
    """
    return encode(
        {
            "image/height": image.height,
            "image/width": image.width,
            "image/colorspace": b"RGB",
            "image/channels": 3,
            "image/class/label": label,
            "image/class/text": text.encode(),
            "image/format": b"JPEG",
            "image/filename": path.encode(),
            "image/encoded": image.jpeg,
        }
    )


def encode(features: Mapping[str, Feature]) -> bytes:
    """An Example of features with one value each, in sorted order, so that equal features give equal bytes.

    Integers must not be negative.
    """
    entries = []
    for name, value in sorted(features.items()):
        # Feature.int64_list = 3 or Feature.bytes_list = 1; the value of either list = 1, integers packed.
        feature = _field(3, _field(1, _varint(value))) if isinstance(value, int) else _field(1, _field(1, value))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))  # Features.feature = 1: a map entry
    return _field(1, b"".join(entries))  # Example.features = 1


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
