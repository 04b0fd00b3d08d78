"""tf.train.Example in protocol-buffer wire format, without TensorFlow.

The schema is tensorflow/core/example/{example,feature}.proto. It needs only these few lines, and importing TensorFlow takes
seconds.
"""

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

Feature = Sequence[bytes] | Sequence[int] | Sequence[float]
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3  # fields of Feature
VARINT, LENGTH_DELIMITED, FIXED32 = 0, 2, 5  # wire types
UNPACKED = {FLOAT_LIST: FIXED32, INT64_LIST: VARINT}  # one field per number: TensorFlow packs them, some other tools do not


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """An Example with these features, sorted by name, so that equal features give equal bytes.

    Each has at least one value, all of one type: bytes, int (64 bits, signed) or float (stored in 32 bits).
    """
    parts: list[bytes] = []
    for name, values in sorted(features.items()):
        if isinstance(values[0], bytes) and len(values) == 1:
            parts += _bytes_feature_prefix(name, len(values[0])), values[0]
        elif isinstance(values[0], float):  # packed here: -0.0 equals 0.0, so the cache of _entry would confuse them
            parts.append(_entry(name, "float", (struct.pack(f"<{len(values)}f", *values),)))
        else:
            parts.append(_entry(name, type(values[0]).__name__, tuple(values)))
    return b"".join([_field_header(1, sum(map(len, parts))), *parts])  # Example.features = 1


def decode_example(record: bytes) -> dict[str, list[Any]]:
    """The features of an Example from `encode_example` or another program, each with all its values.

    Raises:
        ValueError: the bytes are not an Example.
    """
    features = {}
    for _, message in _fields(record, {1}):
        for _, entry in _fields(message, {1}):
            key_value = dict(_fields(entry, {1, 2}))
            features[key_value.get(1, b"").decode()] = _feature_values(key_value.get(2, b""))
    return features


def source_path(features: Mapping[str, Sequence[Any]]) -> str:
    """The image file of an example: its path below the split's directory.

    It is in image/path; in data sets of schema 1, in image/filename.

    Raises:
        LookupError, AttributeError, UnicodeDecodeError: `build` did not write this example.
    """
    (path,) = features.get("image/path") or features["image/filename"][:1]
    return str(path.decode())


@lru_cache(maxsize=4096)
def _bytes_feature_prefix(name: str, size: int) -> bytes:
    """The bytes before one value of `size` bytes. Separate, because an image is too large to copy once per level."""
    value = _field_header(1, size)
    feature = _field_header(BYTES_LIST, len(value) + size) + value
    return _feature_prefix(name, len(feature) + size) + feature


@lru_cache(maxsize=4096)
def _entry(name: str, kind: str, values: tuple[Any, ...]) -> bytes:
    """A feature with its name. `kind` is the type of the values: "bytes", "int", or "float" for one value of packed floats."""
    if kind == "bytes":
        feature = _field(BYTES_LIST, b"".join(_field(1, value) for value in values))
    elif kind == "int":
        feature = _field(INT64_LIST, _field(1, b"".join(map(_varint, values))))
    else:
        feature = _field(FLOAT_LIST, _field(1, *values))
    return _feature_prefix(name, len(feature)) + feature


def _feature_prefix(name: str, size: int) -> bytes:
    """The bytes before a Feature of `size` bytes: Features.feature = 1 is a map of key = 1 to value = 2."""
    entry = _field(1, name.encode()) + _field_header(2, size)
    return _field_header(1, len(entry) + size) + entry


def _feature_values(feature: bytes) -> list[Any]:
    """The values of a Feature."""
    values: list[Any] = []
    for kind, content in _fields(feature, {BYTES_LIST, FLOAT_LIST, INT64_LIST}):
        for _, value in _fields(content, {1}, {LENGTH_DELIMITED, UNPACKED.get(kind, LENGTH_DELIMITED)}):
            if kind == BYTES_LIST:
                values.append(value)
            elif kind == INT64_LIST:
                values += _read_varints(value)
            elif len(value) % 4 == 0:
                values += struct.unpack(f"<{len(value) // 4}f", value)
            else:
                raise ValueError(f"floats have 4 bytes each, not {len(value)} in all")
    return values


def _field(number: int, payload: bytes) -> bytes:
    return _field_header(number, len(payload)) + payload


def _field_header(number: int, size: int) -> bytes:
    """Number, wire type and length: the bytes before a field of `size` bytes."""
    return bytes([number << 3 | LENGTH_DELIMITED]) + _varint(size)


def _fields(message: bytes, numbers: set[int], types: Collection[int] = (LENGTH_DELIMITED,)) -> Iterator[tuple[int, bytes]]:
    """Number and payload of each field.

    Raises:
        ValueError: a field has none of these numbers and wire types, or the message ends within it.
    """
    position = 0
    while position < len(message):
        number, kind = divmod(message[position], 8)
        start = position + 1
        if kind == LENGTH_DELIMITED:
            size, start = _read_varint(message, start)
            position = start + size
        elif kind == VARINT:
            _, position = _read_varint(message, start)
        else:
            position = start + 4
        if kind not in types or number not in numbers or position > len(message):
            raise ValueError(f"field {number} of type {kind} and {position - start} bytes does not belong there")
        yield number, message[start:position]


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative numbers as their two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varints(packed: bytes) -> Iterator[int]:
    position = 0
    while position < len(packed):
        value, position = _read_varint(packed, position)
        yield value - 2**64 if value >= 2**63 else value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of at most 64 bits, and the position after it."""
    value = 0
    for i, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80 and value < 2**64:
            return value, position + i + 1
    raise ValueError("a number does not end")
