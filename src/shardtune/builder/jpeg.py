"""The markers of a JPEG: Pillow and TensorFlow do not agree on every file that one of them reads."""

import re
import struct

# JPEG markers (ITU-T T.81, table B.1). A segment is a marker, and a length that counts itself.
SEGMENT = struct.Struct(">HH")
FILL, SCAN, END = 0xFFFF, 0xFFDA, b"\xff\xd9"
_BETWEEN_SCANS = {SCAN, 0xFFC4, 0xFFDB, 0xFFDC, 0xFFDD, *range(0xFFE0, 0xFFF0), 0xFFFE}  # DHT DQT DNL DRI APPn COM
_HEADER = {0xFFC0, 0xFFC1, 0xFFC2, *_BETWEEN_SCANS}  # the frames that are baseline, extended and progressive
AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not a stuffed 0xFF, nor a restart, nor a fill byte


def is_clean(data: bytes, layers: list[tuple[int, int, int, int]]) -> bool:
    """Whether the sampling and all markers of a JPEG of three 8-bit channels are those that every decoder agrees on.

    Args:
        layers: (id, horizontal sampling factor, vertical one, quantization table) of the channels of all its frames.

    Raises:
        ValueError: something other than image data stands between its first scan and its end.
        struct.error: it ends within a header.
    """
    if len(layers) != 3:
        return False
    for _, h, v, _ in layers:
        if not (h and v) or layers[0][1] % h or layers[0][2] % v:
            return False
    at, known = 2, _HEADER
    while True:
        marker, length = SEGMENT.unpack_from(data, at)
        if marker == SCAN:
            following = AFTER_SCAN.search(data, at + 2 + length)
            if following is None or following.group() == END:
                return following is not None
            at, known = following.start(), _BETWEEN_SCANS
        elif marker in known:
            at += 2 + length
        elif marker == FILL:
            at += 1
        elif known is _HEADER:
            return False
        else:
            raise ValueError("something else stands amid its compressed data")
