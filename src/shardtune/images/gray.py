"""Turn a gray JPEG into an RGB one without loss: keep its compressed data and append two chroma channels of zeros.

A JPEG may hold each channel in a scan of its own (ITU-T T.81, A.2.2). The scan of one channel has ⌈width / 8⌉ × ⌈height / 8⌉
blocks whatever sampling the frame declares, so the gray scans can be the luma scans of a frame of three channels with 2 × 2
sampling, which decoders read fastest. In the chroma scans every coefficient is zero, which means 128 in each pixel.
"""

import struct
from collections.abc import Iterator

from shardtune.images.jpeg import AFTER_SCAN, END, FILL, SCAN, SEGMENT

_START = b"\xff\xd8"
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xFFC0, 0xFFC1, 0xFFC2
_HUFFMAN_TABLES, _QUANTIZATION_TABLES, _RESTART_INTERVAL, _COMMENT = 0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE
# APP2 (a colour profile of one channel, or an index of further pictures) and Adobe's APP14 (three channels are RGB).
# Both would no longer be true.
_DROPPED = {0xFFE2, 0xFFEE}
_KEPT = {_HUFFMAN_TABLES, _QUANTIZATION_TABLES, _RESTART_INTERVAL, _COMMENT, *range(0xFFE0, 0xFFF0)} - _DROPPED
# One table for DC and one for AC, each with one code, the bit 0: "difference 0", and "the rest of the block is 0".
_TABLES = b"\xff\xc4\0\x26" + b"".join(kind + b"\1" + bytes(15) + b"\0" for kind in (b"\0", b"\x10"))
_NO_RESTARTS = b"\xff\xdd\0\4\0\0"


def add_chroma(data: bytes) -> bytes | None:
    """The RGB JPEG of a gray one, or None if anything in it is unusual. Bytes after its end marker are left out.

    Raises:
        struct.error: the file ends within a header.
    """
    out, frame, scans, restarts, progressive = [_START], b"", 0, False, False
    missing = set(range(64))  # coefficients no scan holds in full; how decoders guess them depends on the layout
    for marker, content, coded in _segments(data):
        # A frame header is bits, height, width, channels; then for each channel id, sampling and quantization table.
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
    """The scans of two chroma channels of `blocks` blocks each: one 0 bit for each block's DC and one for its AC."""
    if not progressive:
        return [_empty_scan(b"\2\3", 0, 63, 4 * blocks)]
    # With AC scans too: decoders spend long on guessing coefficients that a progressive image leaves out.
    return [_empty_scan(b"\2\3", 0, 0, 2 * blocks), _empty_scan(b"\2", 1, 63, blocks), _empty_scan(b"\3", 1, 63, blocks)]


def _empty_scan(channels: bytes, first: int, last: int, bits: int) -> bytes:
    """A scan of coefficients `first` to `last` of these channels: `bits` bits of 0, padded with 1s to a whole byte."""
    tables = b"".join(bytes((channel, 0)) for channel in channels)
    header = SEGMENT.pack(SCAN, 6 + len(tables)) + bytes((len(channels),)) + tables + bytes((first, last, 0))
    whole, rest = divmod(bits, 8)
    return header + bytes(whole) + (bytes((0xFF >> rest,)) if rest else b"")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """For each segment up to the end marker: marker, content, and the compressed data that follows it.

    If the end marker is missing, the last marker is 0.
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
