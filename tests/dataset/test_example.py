import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from shardtune.dataset.example import Feature, decode_example, encode_example, source_path
from tests.records import by_tensorflow

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
VALUES = (st.binary(max_size=300), st.integers(-(2**63), 2**63 - 1), st.floats(width=32, allow_nan=False))
FEATURES = st.dictionaries(TEXT, st.one_of(*(st.lists(value, min_size=1, max_size=5) for value in VALUES)), max_size=6)


def test_the_source_of_an_example_is_its_path_or_in_schema_1_its_filename() -> None:
    features = decode_example(encode_example({"image/path": [b"red/x.jpg"], "image/filename": [b"x.jpg"]}))
    assert source_path(features) == "red/x.jpg"
    assert source_path({"image/filename": [b"blue/deep/y.jpg"]}) == "blue/deep/y.jpg"
    for none in ({}, {"image/filename": []}, {"image/filename": [3]}, {"image/path": [b"a", b"b"]}):
        with pytest.raises((LookupError, AttributeError, ValueError)):
            source_path(none)


# TensorFlow sorts a name after the longer ones that begin with it, so for any names only the content is compared.
@given(FEATURES)
def test_any_features_are_read_as_they_were_written(features: dict[str, Feature]) -> None:
    record = encode_example(features)
    assert tf.train.Example.FromString(record) == by_tensorflow(features)
    assert decode_example(record) == decode_example(by_tensorflow(features).SerializeToString()) == features
    assert encode_example(dict(reversed(features.items()))) == record


def test_equal_values_of_other_bytes_are_kept_apart() -> None:
    for values in ([0.0], [-0.0], [0], [1], [1.0]):
        features = {"x": values}
        assert encode_example(features) == by_tensorflow(features).SerializeToString(deterministic=True)


def test_features_without_values_are_read() -> None:
    kinds = [tf.train.Feature(), tf.train.Feature(float_list=tf.train.FloatList()), tf.train.Feature(bytes_list={})]
    example = tf.train.Example(features=tf.train.Features(feature={str(n): kind for n, kind in enumerate(kinds)}))
    assert decode_example(example.SerializeToString()) == {"0": [], "1": [], "2": []}
    assert decode_example(b"") == {}


def test_numbers_one_by_one_are_read_as_packed_ones_are() -> None:
    floats, integers = b"\x12\x0a" + b"\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\x40", b"\x1a\x05" + b"\x08\x07\x08\xac\x02"
    for feature, values in ((floats, [1.0, 2.0]), (integers, [7, 300])):
        entry = b"\x0a\x01x\x12" + bytes([len(feature)]) + feature
        record = b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry
        assert tf.train.Example.FromString(record) == by_tensorflow({"x": values})
        assert decode_example(record) == {"x": values}


@given(FEATURES, st.data())
def test_garbage_is_a_value_error_or_some_features(features: dict[str, Feature], data: st.DataObject) -> None:
    record = bytearray(encode_example(features))
    for position in data.draw(st.lists(st.integers(0, len(record) - 1), max_size=4)):
        record[position] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_example(bytes(record))
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
        decode_example(garbage)
