"""Take metadata out of a JPEG without touching its pixels: who took it where, with what camera, and small copies of it."""

from shardtune.images.jpeg import AFTER_SCAN, END, FILL, SCAN, SEGMENT

_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT = 0xFFE0, 0xFFE1, 0xFFE2, 0xFFEE, 0xFFEF, 0xFFFE
_JFIF_BYTES, _ADOBE_BYTES = 14, 12  # of what libjpeg reads of these segments
_ICC = b"ICC_PROFILE\0"


def strip_metadata(data: bytes, exif: bytes = b"") -> bytes:
    """A clean JPEG (see `jpeg.is_clean`) with the same pixels, without EXIF, XMP, IPTC, comments, thumbnails, further pictures.

    What decides its colours stays: the segments of JFIF and Adobe, and the ICC profile. Coded data are not changed.

    Args:
        exif: what to put in place of its EXIF, from "Exif" on; empty for nothing.
    """
    out, at = [data[:2]], 2
    if exif:
        out.append(_segment(_APP1, exif))
    while True:
        marker, length = SEGMENT.unpack_from(data, at)
        if marker == FILL:
            at += 1
            continue
        end = at + 2 + length
        if marker == SCAN:
            following = AFTER_SCAN.search(data, end)
            if following is None:
                raise ValueError("it has no end marker")
            if following.group() == END:
                return b"".join([*out, data[at : following.end()]])
            end = following.start()
        out.append(_kept(marker, data[at:end]))
        at = end


def _kept(marker: int, segment: bytes) -> bytes:
    """What stays of a segment."""
    payload = segment[SEGMENT.size :]
    if marker == _APP0:  # without its thumbnail
        is_jfif = payload.startswith(b"JFIF\0") and len(payload) >= _JFIF_BYTES
        return _segment(marker, payload[: _JFIF_BYTES - 2] + b"\0\0") if is_jfif else b""
    if marker == _APP14:
        is_adobe = payload.startswith(b"Adobe") and len(payload) >= _ADOBE_BYTES
        return _segment(marker, payload[:_ADOBE_BYTES]) if is_adobe else b""
    if marker == _APP2 and payload.startswith(_ICC):
        return segment
    return b"" if _APP0 < marker <= _APP15 or marker == _COMMENT else segment


def _segment(marker: int, payload: bytes) -> bytes:
    return SEGMENT.pack(marker, 2 + len(payload)) + payload
