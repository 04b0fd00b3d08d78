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


def unframe(record: bytes) -> bytes:
    """The data of one whole TFRecord.

    Raises:
        ValueError: a length or a CRC does not match; the message says which.
    """
    if len(record) < HEADER_BYTES + FOOTER_BYTES:
        raise ValueError(f"it is {len(record)} bytes long, shorter than an empty record")
    length, length_crc = struct.unpack_from("<QI", record)
    if masked_crc32c(record[:8]) != length_crc:
        raise ValueError("the CRC of its length does not match")
    if length != len(record) - HEADER_BYTES - FOOTER_BYTES:
        raise ValueError(f"it says {length} bytes of data but has room for {len(record) - 16}")
    data = record[HEADER_BYTES:-FOOTER_BYTES]
    if masked_crc32c(data) != struct.unpack("<I", record[-FOOTER_BYTES:])[0]:
        raise ValueError("the CRC of its data does not match")
    return data
