"""One image file into the JPEG that is stored, or the reason why it cannot be.

What a file is, its content says, never its name. A clean upright RGB JPEG (an MPO is one: its first picture) keeps its bytes.
Clean is: baseline, extended or progressive, Huffman-coded, 8 bits, three channels of which the later are sampled as often as
the first or a whole number of times less, and only known markers up to the end marker. Any other image is decoded and becomes
such a JPEG, for the first of these reasons that holds (`StoredImage.reencoded`):

    gray_lossless              an upright JPEG of one channel, clean but for that: empty chroma is added to it (gray.py)
    png, gif, bmp, webp, tiff  another format: its first frame, white behind what is transparent, 16 bits scaled to 8
    gray, cmyk                 any other JPEG of one channel, or one of four: CMYK or YCCK (ICC profiles are not applied)
    orientation                an orientation of 2 to 8 in EXIF (or XMP), which is now applied
    max_side                   larger than asked for
    nonstandard                any other JPEG that is not clean: arithmetic coding, odd sampling, stray bytes, no end marker

or is rejected with one of these codes (`reason` in rejects.jsonl, whose `detail` says in words what was seen):

    name         its path is not UTF-8, as the path in an example is
    unreadable   not a file that this user can read: a dangling link, a directory, no permission, an I/O error
    empty        zero bytes
    heic         HEIC or HEIF, which Pillow does not read
    unsupported  another kind of file, such as a web page, or of pixel, such as those of 32 bits, whose range nobody knows
    too_large    more pixels than TensorFlow decodes (a decompression bomb), or a side that no JPEG can have
    truncated    the file ends before the image does
    damaged      anything else that makes decoding fail
"""

import io
import os
import re
import stat
import struct
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from shardtune.builder.gray import add_chroma
from shardtune.builder.jpeg import is_clean

MAX_PIXELS = (2**29 - 1) // 3  # tensorflow/core/lib/jpeg/jpeg_mem.cc refuses height × width × channels of 2**29 and more
MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
MAX_BYTES = 2**30  # an Example is a protocol buffer: below 2**31 bytes
ORIENTATION = 0x0112  # EXIF tag

# Pillow's plugin for each signature, imported when first met: all of them take longer than the first hundred images.
_PLUGINS = {
    "Png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "Gif": re.compile(rb"GIF8[79]a"),
    "Bmp": re.compile(rb"BM"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "Tiff": re.compile(rb"II[*+]\0|MM\0[*+]"),
}
_HEIF_BRANDS = {b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"}
_WEB_PAGE = re.compile(rb"<(!doctype )?html", re.IGNORECASE)
# What Pillow's parsers and decoders raise on broken data.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RANGELESS = {"I": "32-bit or signed", "F": "floating-point", "LAB": "Lab"}  # by Pillow's mode
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags, and a value


class RejectedError(Exception):
    """An image that cannot be stored: a reason code, and what was seen."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class ImageOptions:
    """How images are checked and changed.

    Attributes:
        check: full decodes every image to its end. header follows the markers of a clean JPEG to its end marker, and trusts the
            entropy-coded data between them: some of what is damaged is then stored, and fails when training decodes it.
        exif: upright applies the orientation. keep leaves pixels and EXIF tag as they are (but every TIFF is turned upright).
        max_side: in pixels; larger images are scaled down until their longer side is this.
        quality: 1 to 100, libjpeg's, of what is re-encoded.
    """

    check: Literal["full", "header"] = "full"
    exif: Literal["upright", "keep"] = "upright"
    max_side: int | None = None
    quality: int = 95


@dataclass(frozen=True)
class StoredImage:
    """What goes into an example.

    Attributes:
        jpeg: an RGB JPEG.
        height, width: in pixels, as a decoder that ignores EXIF sees them.
        reencoded: why the bytes are not the file's own, or None where they are.
    """

    jpeg: bytes
    height: int
    width: int
    reencoded: str | None


def read_source(root: Path, path: str) -> bytes:
    """The bytes of a file of a listing; `path` is relative to `root`.

    Raises:
        RejectedError: name, unreadable, empty or too_large.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise RejectedError("name", "the name is not UTF-8: rename it") from error
    return read(root / path)


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        RejectedError: unreadable, empty or too_large.
    """
    try:
        with open(path, "rb", buffering=0, opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RejectedError("unreadable", "not a regular file")
            if status.st_size > MAX_BYTES:
                raise RejectedError("too_large", f"{status.st_size:,} bytes, and an example holds at most {MAX_BYTES:,}")
            data = file.readall()
    except IsADirectoryError as error:
        raise RejectedError("unreadable", "a directory") from error
    except FileNotFoundError as error:
        raise RejectedError("unreadable", "a dangling link" if path.is_symlink() else "no longer there") from error
    except OSError as error:
        raise RejectedError("unreadable", error.strerror or str(error)) from error
    if not data:
        raise RejectedError("empty", "the file has no bytes")
    return data


def _at_once(path: str, flags: int) -> int:
    """Open a named pipe without waiting for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def convert(data: bytes, options: ImageOptions) -> StoredImage:
    """The JPEG to store for a file of these bytes; the module's docstring lists what becomes of which.

    What decoders do not complain about is not found: a flipped bit in a JPEG mostly changes nothing but colours.

    Raises:
        RejectedError: heic, unsupported, too_large, truncated or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
            return _convert(data, options)
    except Image.DecompressionBombError as error:  # of a frame inside the file
        raise RejectedError("too_large", str(error)) from error
    except _PILLOW_ERRORS as error:
        raise _rejected(data, error) from error


def _convert(data: bytes, options: ImageOptions) -> StoredImage:
    image = _open(data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RejectedError("too_large", f"{width} × {height} pixels, and TensorFlow decodes at most {MAX_PIXELS:,}")
    reason = _reason(image, data, options)
    if reason == "gray" and not _change(image, options) and (rgb := add_chroma(data)):
        image, data, reason = _open(rgb), rgb, "gray_lossless"
    elif reason is not None:
        return _reencoded(image, reason, options)
    if options.check == "full":
        # verify() accepts truncated JPEGs. Gray at 1/8 scale is the fastest decode that reads every entropy-coded byte.
        image.draft("L", (max(1, width // 8), max(1, height // 8)))
        image.load()
    return StoredImage(data, height, width, reason)


def _open(data: bytes) -> ImageFile:
    if data.startswith(b"\xff\xd8\xff"):
        image = JpegImageFile(io.BytesIO(data))
        image.decodermaxblock = len(data)  # one call of the decoder instead of one for each 64 KiB
        return image
    for name, signature in _PLUGINS.items():
        if signature.match(data):
            plugin: type[ImageFile] = getattr(import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile")
            return plugin(io.BytesIO(data))
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        raise RejectedError("heic", "a HEIC image: convert it to JPEG, with heif-convert or, on a Mac, sips -s format jpeg")
    if _WEB_PAGE.search(data, 0, 1024):
        raise RejectedError("unsupported", "a web page: the download of the image failed")
    raise RejectedError("unsupported", f"not one of JPEG, {', '.join(_PLUGINS).upper()}")


def _reason(image: ImageFile, data: bytes, options: ImageOptions) -> str | None:
    if not isinstance(image, JpegImageFile):
        return str(image.format).lower()
    if image.mode != "RGB":
        return {"L": "gray", "CMYK": "cmyk"}[image.mode]
    return _change(image, options) or (None if is_clean(data, image.layer) else "nonstandard")


def _change(image: ImageFile, options: ImageOptions) -> str | None:
    """Which change to its pixels was asked for."""
    if options.exif == "upright" and _orientation(image) in _UPRIGHT:
        return "orientation"
    return "max_side" if options.max_side and max(image.size) > options.max_side else None


def _orientation(image: ImageFile) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except _PILLOW_ERRORS:  # metadata that cannot be read is no reason to lose an image
        return None


def _reencoded(image: ImageFile, reason: str, options: ImageOptions) -> StoredImage:
    longer = max(image.size)
    scale = min(1.0, (options.max_side or longer) / longer)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if max(size) > MAX_SIDE:
        raise RejectedError("too_large", f"{image.width} × {image.height} pixels, and a JPEG has at most {MAX_SIDE} a side")
    image.draft(None, (2 * size[0], 2 * size[1]))  # decodes a JPEG at a fraction of its size where that is enough
    rgb = _rgb(image)
    if scale < 1:
        rgb = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    orientation = _orientation(image)  # only now: decoding turns a TIFF, and finds EXIF at the end of a PNG
    tags = Image.Exif()
    if orientation in _UPRIGHT and options.exif == "upright":
        rgb = rgb.transpose(_UPRIGHT[orientation])
    elif orientation in _UPRIGHT:
        tags[ORIENTATION] = orientation
    out = io.BytesIO()
    rgb.save(out, "JPEG", quality=options.quality, exif=tags.tobytes() if tags else b"", comment=b"")
    return StoredImage(out.getvalue(), rgb.height, rgb.width, reason)


def _rgb(image: ImageFile) -> Image.Image:
    """Decode in full, over white."""
    if image.mode in _RANGELESS:
        raise RejectedError("unsupported", f"{_RANGELESS[image.mode]} pixels: convert it to 8 or 16 bits a channel")
    key = image.info.get("transparency")
    if image.format == "PNG" and key is not None:  # Pillow scales channels to 8 bits, but not the colour that is transparent
        bits = image.tile[0].args
        if bits == "RGB;16B":
            image.info["transparency"] = tuple(channel >> 8 for channel in key)
        elif bits in ("L;2", "L;4"):
            image.info["transparency"] = key * (85 if bits == "L;2" else 17)
    picture = _from_16_bits(image) if image.mode.startswith("I;16") else image
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        picture = image.point(lambda ink: 255 - ink)  # Pillow takes every CMYK JPEG for one of Adobe's, which are inverted
    if picture.has_transparency_data:
        if picture.mode != "RGBA":  # of a huge image, no copy more than it takes
            picture = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture)
        return white
    return picture.convert("RGB")


def _from_16_bits(image: ImageFile) -> Image.Image:
    """Gray, with the transparent one of a PNG as alpha. (`convert("L")` would clip everything above 255 to white.)"""
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    wide = image.convert("I")
    top = 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1  # Pillow does not scale 12 bits
    gray = wide.point(lambda value: value * (255 / top) + 0.5).convert("L")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        gray = gray.point(lambda value: 255 - value)
    key = image.info.get("transparency")
    if key is not None:
        gray.putalpha(wide.point([255] * key + [0] + [255] * (65535 - key), "L"))
    return gray


def _rejected(data: bytes, error: Exception) -> RejectedError:
    """For what Pillow, or the reading of a header, raised."""
    detail = str(error) or type(error).__name__
    if detail.lower().startswith(("cannot handle", "unknown", "unsupported")):
        return RejectedError("unsupported", detail)
    if isinstance(error.__cause__ or error, struct.error):
        return RejectedError("truncated", "it ends within a header")
    webp_is_cut = data.startswith(b"RIFF") and len(data) < 8 + int.from_bytes(data[4:8], "little")
    return RejectedError("truncated" if webp_is_cut or "truncated" in detail.lower() else "damaged", detail)
