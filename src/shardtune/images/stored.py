"""Turn one image file into the JPEG that is stored, or find the reason why it cannot be stored.

The content decides what a file is, never its name. A clean upright RGB JPEG (an MPO is one: its first picture) keeps its bytes.
Clean means: baseline, extended or progressive, Huffman-coded, 8 bits, three channels of which the second and third are sampled
as often as the first or a whole number of times less, and only known markers up to the end marker. Any other image is decoded
and becomes such a JPEG, for the first of these reasons that applies (`StoredImage.reencoded`):

    gray_lossless              an upright JPEG of one channel that is otherwise clean: empty chroma is appended (gray.py)
    png, gif, bmp, webp, tiff  another format: its first frame, transparency over white, 16 bits scaled to 8
    gray, cmyk                 any other JPEG of one channel, or one of four: CMYK or YCCK (ICC profiles are not applied)
    orientation                an orientation of 2 to 8 in EXIF (or XMP), which is now applied
    max_side                   larger than the option max_side
    nonstandard                any other JPEG that is not clean: arithmetic coding, odd sampling, stray bytes, no end marker

or it is rejected with one of these codes (`reason` in rejects.jsonl, whose `detail` says in words what was found):

    name         its path is not UTF-8, as the path in an example is
    unreadable   not a file that this user can read: a dangling link, a directory, no permission, an I/O error
    empty        zero bytes
    heic         HEIC or HEIF, which Pillow does not read
    unsupported  another kind of file, such as a web page, or of pixel, such as 32-bit ones, whose range is unknown
    too_small    a side of fewer pixels than the option min_side
    too_large    more pixels than TensorFlow decodes (a decompression bomb), or a side that no JPEG can have
    truncated    the file ends before the image does
    damaged      anything else that makes decoding fail
"""

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from shardtune.images.gray import add_chroma
from shardtune.images.jpeg import is_clean
from shardtune.images.metadata import strip_metadata
from shardtune.images.pixels import PILLOW_ERRORS, ImageOptions, decode_rgb, orientation_tags, required_change
from shardtune.images.source import RejectedError

MAX_PIXELS = (2**29 - 1) // 3  # tensorflow/core/lib/jpeg/jpeg_mem.cc refuses height × width × channels of 2**29 and more

# Pillow's plugin for each signature, imported when first needed: importing all takes longer than the first hundred images.
_PLUGINS = {
    "Png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "Gif": re.compile(rb"GIF8[79]a"),
    "Bmp": re.compile(rb"BM"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "Tiff": re.compile(rb"II[*+]\0|MM\0[*+]"),
}
_HEIF_BRANDS = {b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"}
_WEB_PAGE = re.compile(rb"<(!doctype )?html", re.IGNORECASE)


@dataclass(frozen=True)
class StoredImage:
    """The image that an example holds.

    Attributes:
        jpeg: an RGB JPEG.
        height, width: in pixels, for a decoder that ignores EXIF.
        reencoded: why the image is not the file's own, or None if it is, possibly without its metadata.
    """

    jpeg: bytes
    height: int
    width: int
    reencoded: str | None


@contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """A context without Pillow's warnings about odd metadata.

    Only for the thread that starts others, because contexts of several threads leave each other's filters behind; and for many
    images, because it takes a thirtieth of the time of one.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def to_stored_image(data: bytes, options: ImageOptions) -> StoredImage:
    """The JPEG to store for a file of these bytes; the module's docstring lists the cases.

    Use it in a context of `pillow_warnings_ignored`.

    Damage that decoders do not report is not found: a flipped bit in a JPEG mostly changes only colours.

    Raises:
        RejectedError: heic, unsupported, too_small, too_large, truncated or damaged.
    """
    try:
        return _convert(data, options)
    except Image.DecompressionBombError as error:  # one frame of the file is too large
        raise RejectedError("too_large", str(error)) from error
    except PILLOW_ERRORS as error:
        raise _classify_decode_error(data, error) from error


def _convert(data: bytes, options: ImageOptions) -> StoredImage:
    image = _open(data)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RejectedError("too_large", f"{width} × {height} pixels, and TensorFlow decodes at most {MAX_PIXELS:,}")
    if options.min_side and min(width, height) < options.min_side:
        raise RejectedError("too_small", f"{width} × {height} pixels, and --min_side is {options.min_side}")
    reason = _reencode_reason(image, data, options)
    if reason == "gray" and not required_change(image, options) and (rgb := add_chroma(data)):
        image, data, reason = _open(rgb), rgb, "gray_lossless"
    elif reason is not None:
        return _reencode(image, reason, options)
    if options.check == "full":
        # Not verify(), which accepts truncated JPEGs. Gray at 1/8 scale is the fastest decode that reads every coded byte.
        image.draft("L", (max(1, width // 8), max(1, height // 8)))
        image.load()
    return StoredImage(_strip(image, data) if options.strip_metadata else data, height, width, reason)


def _strip(image: ImageFile, data: bytes) -> bytes:
    """A clean JPEG without metadata but for an orientation, which it has only if that is to be kept."""
    tags = orientation_tags(image)
    return strip_metadata(data, tags.tobytes() if tags else b"")


def _open(data: bytes) -> ImageFile:
    if data.startswith(b"\xff\xd8\xff"):
        image = JpegImageFile(io.BytesIO(data))
        image.decodermaxblock = len(data)  # one call of the decoder, not one per 64 KiB
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


def _reencode_reason(image: ImageFile, data: bytes, options: ImageOptions) -> str | None:
    if not isinstance(image, JpegImageFile):
        return str(image.format).lower()
    if image.mode != "RGB":
        return {"L": "gray", "CMYK": "cmyk"}[image.mode]
    return required_change(image, options) or (None if is_clean(data, image.layer) else "nonstandard")


def _reencode(image: ImageFile, reason: str, options: ImageOptions) -> StoredImage:
    rgb, tags = decode_rgb(image, options)
    out = io.BytesIO()
    rgb.save(out, "JPEG", quality=options.quality, exif=tags.tobytes() if tags else b"", comment=b"", xmp=b"")
    return StoredImage(out.getvalue(), rgb.height, rgb.width, reason)


def _classify_decode_error(data: bytes, error: Exception) -> RejectedError:
    """The rejection for an exception that Pillow or the parsing of a header raised."""
    detail = str(error) or type(error).__name__
    if detail.lower().startswith(("cannot handle", "unknown", "unsupported")):
        return RejectedError("unsupported", detail)
    if isinstance(error.__cause__ or error, struct.error):
        return RejectedError("truncated", "it ends within a header")
    is_cut_webp = data.startswith(b"RIFF") and len(data) < 8 + int.from_bytes(data[4:8], "little")
    return RejectedError("truncated" if is_cut_webp or "truncated" in detail.lower() else "damaged", detail)
