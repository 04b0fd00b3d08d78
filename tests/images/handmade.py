"""Image files that Pillow reads but does not write, byte by byte."""

import base64
import struct
import zlib

from PIL import Image

from tests.pictures import encoded

# 24 × 16 pixels, by jpeg_start_compress of libjpeg-turbo with arith_code set: few encoders have arithmetic coding.
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0dHx8fExciJCIeJBwe"
    "Hx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh7/yQARCAAQABgDAREAAhEB"
    "AxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AEgcovy0sl9CrSRWD/wcCkzyut4XYX5LdGkTLgZl0Za53+6SW3gD/wC6nCmGo12wUqkeJkBElmHy"
    "1x7y8uN3Y8gQfqD/2Q=="
)


def png(width: int, depth: int, color: int, rows: list[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these rows of packed pixels; `chunks` (name, content) stand before them. color: 0 gray, 2 RGB, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, color, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    )


def gray_tiff(width: int, height: int, bits: int, pixels: bytes, *, order: str = "<", white_is_zero: bool = False) -> bytes:
    """An uncompressed TIFF of one channel; `pixels` are packed, in byte order `order`."""
    values = {
        256: width,
        257: height,
        258: bits,
        259: 1,  # uncompressed
        262: 0 if white_is_zero else 1,  # photometric interpretation
        273: 8,  # where the pixels start
        277: 1,  # samples per pixel
        278: height,  # rows in the strip
        279: len(pixels),
    }
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in values.items())
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(pixels))
    return start + pixels + struct.pack(f"{order}H", len(values)) + entries + bytes(4)


def ycck_jpeg(cmyk: Image.Image) -> bytes:
    """What Photoshop writes: inverted inks, of which three are then turned from RGB to YCbCr."""
    *inks, black = cmyk.split()
    y, cb, cr = (channel.point(lambda value: 255 - value) for channel in Image.merge("RGB", inks).convert("YCbCr").split())
    jpeg = encoded(Image.merge("CMYK", (y, cb, cr, black)), quality=95)  # Pillow inverts all four
    transform = jpeg.index(b"Adobe") + 11
    return jpeg[:transform] + b"\2" + jpeg[transform + 1 :]


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """`jpeg` less its first segment with that marker."""
    start = jpeg.index(bytes((0xFF, marker)))
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def with_frame(jpeg: bytes, offset: int, content: bytes) -> bytes:
    """`jpeg` with other bytes in its frame header: precision at 0, height at 1, width at 3, sampling at 7, 10 and 13."""
    start = jpeg.index(b"\xff\xc0") + 4 + offset
    return jpeg[:start] + content + jpeg[start + len(content) :]


def before_scan(jpeg: bytes, content: bytes) -> bytes:
    """`jpeg` with `content` before its first scan."""
    start = jpeg.index(b"\xff\xda")
    return jpeg[:start] + content + jpeg[start:]
