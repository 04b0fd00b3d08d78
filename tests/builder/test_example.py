from collections.abc import Mapping, Sequence

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.boxes import Box
from shardtune.builder.example import Feature, decode, encode, image_example, source_path
from shardtune.builder.images import StoredImage
from tests.records import fields

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SIDE = st.integers(1, 2**31 - 1)
SHARE = st.floats(0, 1, width=32)
BOX = st.builds(Box, SHARE, SHARE, SHARE, SHARE, st.none() | st.integers(1, 1000), TEXT, st.integers(1))
VALUES = (st.binary(max_size=300), st.integers(-(2**63), 2**63 - 1), st.floats(width=32, allow_nan=False))
FEATURES = st.dictionaries(TEXT, st.one_of(*(st.lists(value, min_size=1, max_size=5) for value in VALUES)), max_size=6)


def by_tensorflow(features: Mapping[str, Feature]) -> tf.train.Example:
    def feature(values: Feature) -> tf.train.Feature:
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    return tf.train.Example(features=tf.train.Features(feature={name: feature(value) for name, value in features.items()}))


@given(st.binary(max_size=500), SIDE, SIDE, TEXT, st.integers(1, 100_000), TEXT)
def test_an_example_has_the_nine_fields_a_path_and_tensorflow_s_bytes(
    jpeg: bytes, height: int, width: int, name: str, label: int, text: str
) -> None:
    path = f"{text}/deep/{name}"
    record = image_example(StoredImage(jpeg, height, width, None), path, label, text)
    expected = {
        "image/height": height,
        "image/width": width,
        "image/colorspace": b"RGB",
        "image/channels": 3,
        "image/class/label": label,
        "image/class/text": text.encode(),
        "image/format": b"JPEG",
        "image/filename": name.split("/")[-1].encode(),
        "image/path": path.encode(),
        "image/encoded": jpeg,
    }
    assert fields(record) == expected
    assert record == by_tensorflow({name: [value] for name, value in expected.items()}).SerializeToString(deterministic=True)


def test_the_source_of_an_example_is_its_path_or_in_schema_1_its_filename() -> None:
    features = decode(image_example(StoredImage(b"a jpeg", 30, 40, None), "red/x.jpg", 3, "red"))
    assert source_path(features) == "red/x.jpg"
    assert source_path({"image/filename": [b"blue/deep/y.jpg"]}) == "blue/deep/y.jpg"
    for none in ({}, {"image/filename": []}, {"image/filename": [3]}, {"image/path": [b"a", b"b"]}):
        with pytest.raises((LookupError, AttributeError, ValueError)):
            source_path(none)


@given(st.lists(BOX, min_size=1, max_size=4), st.integers(1, 1000))
def test_boxes_are_five_more_fields(boxes: Sequence[Box], label: int) -> None:
    image = StoredImage(b"a jpeg", 30, 40, None)
    record = image_example(image, "red/x.jpg", label, "red", boxes)
    features = decode(image_example(image, "red/x.jpg", label, "red")) | {
        "image/object/bbox/xmin": [box.xmin for box in boxes],
        "image/object/bbox/xmax": [box.xmax for box in boxes],
        "image/object/bbox/ymin": [box.ymin for box in boxes],
        "image/object/bbox/ymax": [box.ymax for box in boxes],
        "image/object/bbox/label": [label if box.label is None else box.label for box in boxes],
    }
    assert record == by_tensorflow(features).SerializeToString(deterministic=True)


# TensorFlow sorts a name after the longer ones that begin with it, so for any names only the content is compared.
@given(FEATURES)
def test_any_features_are_read_as_they_were_written(features: dict[str, Feature]) -> None:
    record = encode(features)
    assert tf.train.Example.FromString(record) == by_tensorflow(features)
    assert decode(record) == decode(by_tensorflow(features).SerializeToString()) == features
    assert encode(dict(reversed(features.items()))) == record


def test_equal_values_of_other_bytes_are_kept_apart() -> None:
    for values in ([0.0], [-0.0], [0], [1], [1.0]):
        features = {"x": values}
        assert encode(features) == by_tensorflow(features).SerializeToString(deterministic=True)


def test_features_without_values_are_read() -> None:
    kinds = [tf.train.Feature(), tf.train.Feature(float_list=tf.train.FloatList()), tf.train.Feature(bytes_list={})]
    example = tf.train.Example(features=tf.train.Features(feature={str(n): kind for n, kind in enumerate(kinds)}))
    assert decode(example.SerializeToString()) == {"0": [], "1": [], "2": []}
    assert decode(b"") == {}


@given(FEATURES, st.data())
def test_garbage_is_a_value_error_or_some_features(features: dict[str, Feature], data: st.DataObject) -> None:
    record = bytearray(encode(features))
    for position in data.draw(st.lists(st.integers(0, len(record) - 1), max_size=4)):
        record[position] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(record))
    except ValueError:
        return
    assert all(isinstance(values, list) for values in decoded.values())


@pytest.mark.parametrize(
    "garbage",
    [
        b"x",
        b"\x0a",  # a field without a length
        b"\x0a\x05abcd",  # shorter than its length
        b"\x08\x01",  # a bare number
        b"\x12\x00",  # field 2 of an Example
        b"\x0a" + b"\x80" * 9 + b"\x02",  # a length of 65 bits
        b"\x0a" + b"\xff" * 11,  # a length that does not end
        b"\x0a\x05\x0a\x03\x0a\x01\xff",  # a name that is no UTF-8
        b"\x0a\x0b\x0a\x09\x12\x07\x12\x05\x0a\x03abc",  # three quarters of a float
        b"\x0a\x09\x0a\x07\x12\x05\x1a\x03\x0a\x01\x80",  # an integer that does not end
    ],
)
def test_what_is_no_example_is_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"does not|floats have 4 bytes|can't decode"):
        decode(garbage)
