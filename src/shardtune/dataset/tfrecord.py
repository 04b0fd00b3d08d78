"""TFRecord frames: length (uint64), CRC of the length, data, CRC of the data; all little-endian.

The format and the CRC mask are those of TensorFlow's core/lib/io/record_writer.h and core/lib/hash/crc32c.h.
"""

import struct

import google_crc32c

HEADER_BYTES = 12
FOOTER_BYTES = 4


def masked_crc32c(data: bytes) -> int:
    """CRC-32C of `data`, rotated and offset: a CRC over data that contains CRCs would be weak otherwise."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """The bytes of one TFRecord with `data`."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))))


def data_length(header: bytes | memoryview) -> int:
    """Bytes of data after the header of a record.

    Args:
        header: the first `HEADER_BYTES` of the record.

    Raises:
        ValueError: `header` is shorter, or its CRC does not match.
    """
    if len(header) < HEADER_BYTES:
        raise ValueError(f"it ends after {len(header)} bytes, within its length")
    length, crc = struct.unpack("<QI", header)
    if masked_crc32c(bytes(header[:8])) != crc:
        raise ValueError("the CRC of its length does not match")
    return int(length)


def stored_crc(record: bytes | memoryview) -> int:
    """The masked CRC of the data, as it is in the last bytes of a whole TFRecord."""
    return int.from_bytes(record[-FOOTER_BYTES:], "little")


def unframe(record: bytes | memoryview) -> bytes:
    """The data of one whole TFRecord.

    Raises:
        ValueError: a length or a CRC does not match; the message says which.
    """
    size = HEADER_BYTES + data_length(record[:HEADER_BYTES]) + FOOTER_BYTES
    if size != len(record):
        raise ValueError(f"it has {len(record)} bytes where its length says {size}")
    data = bytes(record[HEADER_BYTES:-FOOTER_BYTES])
    if masked_crc32c(data) != stored_crc(record):
        raise ValueError("the CRC of its data does not match")
    return data
