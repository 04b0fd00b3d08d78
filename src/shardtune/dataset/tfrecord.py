"""TFRecord frames: length (uint64), its CRC, data, the data's CRC; all little-endian.

The format and the CRC mask are those of TensorFlow's core/lib/io/record_writer.h and core/lib/hash/crc32c.h.
"""

import struct

import google_crc32c

HEADER_BYTES = 12
FOOTER_BYTES = 4


def masked_crc32c(data: bytes) -> int:
    """CRC-32C of `data`, rotated and offset so that a CRC stored beside its data does not confuse a CRC over both."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One TFRecord holding `data`: its bytes in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))))


def data_length(header: bytes | memoryview) -> int:
    """How many bytes of data follow the first `HEADER_BYTES` of a record.

    Raises:
        ValueError: these are fewer bytes, or their CRC does not match.
    """
    if len(header) < HEADER_BYTES:
        raise ValueError(f"it ends after {len(header)} bytes, within its length")
    length, crc = struct.unpack("<QI", header)
    if masked_crc32c(bytes(header[:8])) != crc:
        raise ValueError("the CRC of its length does not match")
    return int(length)


def stored_crc(record: bytes | memoryview) -> int:
    """The masked CRC of its data that a whole TFRecord holds."""
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
