"""A gray JPEG as an RGB one without loss: two chroma channels of zeros follow its own compressed data, which stays as it is.

A JPEG may hold each channel in a scan of its own (ITU-T T.81, A.2.2). The scan of one channel has ⌈width / 8⌉ × ⌈height / 8⌉
blocks whatever sampling the frame declares, so that the gray scans are the luma scans of a frame of three channels, 2 × 2
sampled, the layout that decoders are fastest at. In the scans of chroma every coefficient is zero, that is 128 in each pixel.
"""

import struct
from collections.abc import Iterator

from shardtune.builder.jpeg import AFTER_SCAN, END, FILL, SCAN, SEGMENT

_START = b"\xff\xd8"
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xFFC0, 0xFFC1, 0xFFC2
_HUFFMAN_TABLES, _QUANTIZATION_TABLES, _RESTART_INTERVAL, _COMMENT = 0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE
# A profile of one channel, or where further pictures start; Adobe's, by which three channels are RGB. Neither is true any more.
_DROPPED = {0xFFE2, 0xFFEE}
_KEPT = {_HUFFMAN_TABLES, _QUANTIZATION_TABLES, _RESTART_INTERVAL, _COMMENT, *range(0xFFE0, 0xFFF0)} - _DROPPED
# One table for DC and one for AC, each of one code: the bit 0, for "difference 0" and for "the rest of the block is 0".
_TABLES = b"\xff\xc4\0\x26" + b"".join(kind + b"\1" + bytes(15) + b"\0" for kind in (b"\0", b"\x10"))
_NO_RESTARTS = b"\xff\xdd\0\4\0\0"


def add_chroma(data: bytes) -> bytes | None:
    """The RGB JPEG of a gray one, or None where anything in it is unusual. What follows its end marker is left out.

    Raises:
        struct.error: it ends within a header.
    """
    out, frame, scans, restarts, progressive = [_START], b"", 0, False, False
    missing = set(range(64))  # coefficients that no scan has given in full: decoders guess them, and not alike for all layouts
    for marker, content, coded in _segments(data):
        # A frame is bits, height, width, channels; then id, sampling and quantization table of each.
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE) and not frame and len(content) == 9 and content[0] == 8:
            frame, progressive = content, marker == _PROGRESSIVE
            table = frame[8:]
            content = frame[:5] + b"\3" + b"\1\x22" + table + b"\2\x11" + table + b"\3\x11" + table
        elif marker == SCAN and frame and content[:2] == b"\1" + frame[6:7] and len(content) == 6:
            scans += 1
            first, last, bits = content[3:]
            if bits & 0xF == 0:
                missing -= set(range(first, last + 1))
            content = b"\1\1" + content[2:]
        elif marker == _RESTART_INTERVAL:
            restarts = True
        elif marker in _DROPPED:
            continue
        elif marker not in _KEPT:
            return None
        out += SEGMENT.pack(marker, len(content) + 2), content, coded
    if missing or (scans > 1 and not progressive):
        return None
    height, width = struct.unpack_from(">HH", frame, 1)
    out += _TABLES, _NO_RESTARTS if restarts else b"", *_empty_scans(-(-width // 16) * -(-height // 16), progressive), END
    return b"".join(out)


def _empty_scans(blocks: int, progressive: bool) -> list[bytes]:
    """The scans of two chroma channels of so many blocks each, with 1 bit of 0 for each block's DC and for its AC."""
    if not progressive:
        return [_empty_scan(b"\2\3", 0, 63, 4 * blocks)]
    # Decoders would guess, at length, what a progressive picture leaves open: AC too then.
    return [_empty_scan(b"\2\3", 0, 0, 2 * blocks), _empty_scan(b"\2", 1, 63, blocks), _empty_scan(b"\3", 1, 63, blocks)]


def _empty_scan(channels: bytes, first: int, last: int, bits: int) -> bytes:
    """A scan of coefficients `first` to `last` of these channels: so many bits of 0, and bits of 1 up to a whole byte."""
    tables = b"".join(bytes((channel, 0)) for channel in channels)
    header = SEGMENT.pack(SCAN, 6 + len(tables)) + bytes((len(channels),)) + tables + bytes((first, last, 0))
    whole, rest = divmod(bits, 8)
    return header + bytes(whole) + (bytes((0xFF >> rest,)) if rest else b"")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker and content of each segment up to the end marker, and the compressed data that follows it.

    A last marker of 0 stands for an end that is missing.
    """
    at = len(_START)
    while data[at : at + 2] != END:
        marker, length = SEGMENT.unpack_from(data, at)
        if marker == FILL:
            at += 1
            continue
        start, at = at + SEGMENT.size, at + 2 + length
        end = at
        if marker == SCAN:
            following = AFTER_SCAN.search(data, at)
            if following is None:
                yield 0, b"", b""
                return
            at = following.start()
        yield marker, data[start:end], data[end:at]
