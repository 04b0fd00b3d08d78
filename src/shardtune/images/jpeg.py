"""The markers of a JPEG, to find files that Pillow and TensorFlow decode differently."""

import re
import struct

# JPEG markers (ITU-T T.81, table B.1). A segment is a marker, and a length that counts itself.
SEGMENT = struct.Struct(">HH")
FILL, SCAN, END = 0xFFFF, 0xFFDA, b"\xff\xd9"
_BETWEEN_SCANS = {SCAN, 0xFFC4, 0xFFDB, 0xFFDC, 0xFFDD, *range(0xFFE0, 0xFFF0), 0xFFFE}  # DHT DQT DNL DRI APPn COM
_HEADER = {0xFFC0, 0xFFC1, 0xFFC2, *_BETWEEN_SCANS}  # the frames that are baseline, extended and progressive
AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # any marker but a stuffed 0xFF, a restart marker or a fill byte


def is_clean(data: bytes, components: list[tuple[int, int, int, int]]) -> bool:
    """Whether a JPEG of three 8-bit channels has only the sampling and the markers on which all decoders agree.

    Args:
        components: (id, horizontal sampling factor, vertical sampling factor, quantization table) of the components of all
            its frames.

    Raises:
        ValueError: there is something other than image data between its first scan and its end.
        struct.error: the file ends within a header.
    """
    if len(components) != 3:
        return False
    for _, h, v, _ in components:
        if not (h and v) or components[0][1] % h or components[0][2] % v:
            return False
    at, allowed_markers = 2, _HEADER
    while True:
        marker, length = SEGMENT.unpack_from(data, at)
        if marker == SCAN:
            following = AFTER_SCAN.search(data, at + 2 + length)
            if following is None or following.group() == END:
                return following is not None
            at, allowed_markers = following.start(), _BETWEEN_SCANS
        elif marker in allowed_markers:
            at += 2 + length
        elif marker == FILL:
            at += 1
        elif allowed_markers is _HEADER:
            return False
        else:
            raise ValueError("something else stands amid its compressed data")
