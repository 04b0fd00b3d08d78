from collections.abc import Mapping

import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.build.example import encode, image_example
from shardtune.build.images import StoredImage
from tests.records import fields

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SIDE = st.integers(1, 2**31 - 1)


def by_tensorflow(features: Mapping[str, bytes | int]) -> tf.train.Example:
    def feature(value: bytes | int) -> tf.train.Feature:
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    return tf.train.Example(features=tf.train.Features(feature={name: feature(value) for name, value in features.items()}))


@given(st.binary(max_size=500), SIDE, SIDE, TEXT, st.integers(1, 100_000), TEXT)
def test_an_example_has_the_nine_fields_and_tensorflow_s_bytes(
    jpeg: bytes, height: int, width: int, path: str, label: int, text: str
) -> None:
    record = image_example(StoredImage(jpeg, height, width, None), path, label, text)
    expected = {
        "image/height": height,
        "image/width": width,
        "image/colorspace": b"RGB",
        "image/channels": 3,
        "image/class/label": label,
        "image/class/text": text.encode(),
        "image/format": b"JPEG",
        "image/filename": path.encode(),
        "image/encoded": jpeg,
    }
    assert fields(record) == expected
    assert record == by_tensorflow(expected).SerializeToString(deterministic=True)


# TensorFlow sorts a name after the longer ones that begin with it, so for any names only the content is compared.
@given(st.dictionaries(TEXT, st.one_of(st.binary(max_size=300), st.integers(0, 2**63 - 1)), max_size=6))
def test_any_features_are_read_as_they_were_written(features: dict[str, bytes | int]) -> None:
    assert tf.train.Example.FromString(encode(features)) == by_tensorflow(features)
    assert encode(features) == encode(dict(reversed(features.items())))
