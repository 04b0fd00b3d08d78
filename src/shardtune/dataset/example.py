"""tf.train.Example in protocol-buffer wire format, without TensorFlow.

The schema is tensorflow/core/example/{example,feature}.proto. Written by hand because these few lines are all of it, and
importing TensorFlow takes seconds.
"""

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

Feature = Sequence[bytes] | Sequence[int] | Sequence[float]
BYTES, FLOATS, INTEGERS = 1, 2, 3  # Feature.bytes_list, float_list, int64_list
VARINT, SIZED, FOUR_BYTES = 0, 2, 5  # wire types
UNPACKED = {FLOATS: FOUR_BYTES, INTEGERS: VARINT}  # numbers one by one: not how TensorFlow writes them, but some others do


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """An Example of these features, in sorted order, so that equal features give equal bytes.

    Each has at least one value, all of one type: bytes, int (64 bits, signed) or float (stored in 32 bits).
    """
    parts: list[bytes] = []
    for name, values in sorted(features.items()):
        if isinstance(values[0], bytes) and len(values) == 1:
            parts += _before_bytes(name, len(values[0])), values[0]
        elif isinstance(values[0], float):  # packed first: -0.0 and 0.0 are equal, and the cache would take one for the other
            parts.append(_entry(name, "float", (struct.pack(f"<{len(values)}f", *values),)))
        else:
            parts.append(_entry(name, type(values[0]).__name__, tuple(values)))
    return b"".join([_head(1, sum(map(len, parts))), *parts])  # Example.features = 1


def decode_example(record: bytes) -> dict[str, list[Any]]:
    """The features of an Example that `encode_example` or another program wrote, each with all its values.

    Raises:
        ValueError: these bytes are no such Example.
    """
    features = {}
    for _, message in _fields(record, {1}):
        for _, entry in _fields(message, {1}):
            parts = dict(_fields(entry, {1, 2}))
            features[parts.get(1, b"").decode()] = _values(parts.get(2, b""))
    return features


def source_path(features: Mapping[str, Sequence[Any]]) -> str:
    """Which file an example was made of: its path from the split's directory, which data sets of schema 1 hold in
    image/filename.

    Raises:
        LookupError, AttributeError, UnicodeDecodeError: these are no features of an example that `build` wrote.
    """
    (path,) = features.get("image/path") or features["image/filename"][:1]
    return str(path.decode())


@lru_cache(maxsize=4096)
def _before_bytes(name: str, size: int) -> bytes:
    """What comes before one value of `size` bytes: kept apart because an image is too large to be copied for each layer."""
    value = _head(1, size)
    feature = _head(BYTES, len(value) + size) + value
    return _before_feature(name, len(feature) + size) + feature


@lru_cache(maxsize=4096)
def _entry(name: str, kind: str, values: tuple[Any, ...]) -> bytes:
    """A whole feature with its name; `kind` is the type of the values, of which floats come packed into one."""
    if kind == "bytes":
        feature = _field(BYTES, b"".join(_field(1, value) for value in values))
    elif kind == "int":
        feature = _field(INTEGERS, _field(1, b"".join(map(_varint, values))))
    else:
        feature = _field(FLOATS, _field(1, *values))
    return _before_feature(name, len(feature)) + feature


def _before_feature(name: str, size: int) -> bytes:
    """What comes before a Feature of `size` bytes: Features.feature = 1 is a map of key = 1 to value = 2."""
    entry = _field(1, name.encode()) + _head(2, size)
    return _head(1, len(entry) + size) + entry


def _values(feature: bytes) -> list[Any]:
    """The values of a Feature."""
    values: list[Any] = []
    for kind, content in _fields(feature, {BYTES, FLOATS, INTEGERS}):
        for _, value in _fields(content, {1}, {SIZED, UNPACKED.get(kind, SIZED)}):
            if kind == BYTES:
                values.append(value)
            elif kind == INTEGERS:
                values += _integers(value)
            elif len(value) % 4 == 0:
                values += struct.unpack(f"<{len(value) // 4}f", value)
            else:
                raise ValueError(f"floats have 4 bytes each, not {len(value)} in all")
    return values


def _field(number: int, payload: bytes) -> bytes:
    return _head(number, len(payload)) + payload


def _head(number: int, size: int) -> bytes:
    """What comes before a field of `size` bytes."""
    return bytes([number << 3 | 2]) + _varint(size)


def _fields(message: bytes, numbers: set[int], types: Collection[int] = (SIZED,)) -> Iterator[tuple[int, bytes]]:
    """Number and payload of each field; all have one of these numbers and wire types."""
    position = 0
    while position < len(message):
        number, kind = divmod(message[position], 8)
        start = position + 1
        if kind == SIZED:
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


def _integers(packed: bytes) -> Iterator[int]:
    position = 0
    while position < len(packed):
        value, position = _read_varint(packed, position)
        yield value - 2**64 if value >= 2**63 else value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where it ends."""
    value = 0
    for place, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80 and value < 2**64:
            return value, position + place + 1
    raise ValueError("a number does not end")
