"""Decode any image that Pillow reads to 8-bit RGB, turned and scaled as the options say."""

import struct
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from PIL.ImageFile import ImageFile

from shardtune.images.source import RejectedError

MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
ORIENTATION = 0x0112  # EXIF tag
# What Pillow's parsers and decoders raise on broken data.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)

_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UNSCALABLE_MODES = {"I": "32-bit or signed", "F": "floating-point", "LAB": "Lab"}  # by Pillow's mode
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags, and a value of the latter


@dataclass(frozen=True)
class ImageOptions:
    """How images are checked and changed.

    Attributes:
        check: full decodes every image to its end. header follows the markers of a clean JPEG to its end marker, and does not
            check the entropy-coded data between them: some damaged images are then stored, and fail when training decodes
            them.
        exif: upright applies the orientation. keep leaves pixels and EXIF tag unchanged (but every TIFF is turned upright).
        max_side: in pixels; larger images are scaled down until their longer side has this length.
        quality: libjpeg's, 1 to 100, of images that are re-encoded.
        min_side: in pixels; images whose shorter side has fewer are rejected.
        strip_metadata: leave out EXIF, comments and the like, but for an orientation that is kept.
    """

    check: Literal["full", "header"] = "full"
    exif: Literal["upright", "keep"] = "upright"
    max_side: int | None = None
    quality: int = 95
    min_side: int | None = None
    strip_metadata: bool = False


def required_change(image: ImageFile, options: ImageOptions) -> Literal["orientation", "max_side"] | None:
    """Why the options require other pixels than the image has, or None."""
    if options.exif == "upright" and _orientation(image) in _TRANSPOSE_BY_ORIENTATION:
        return "orientation"
    return "max_side" if options.max_side and max(image.size) > options.max_side else None


def decode_rgb(image: ImageFile, options: ImageOptions) -> tuple[Image.Image, Image.Exif]:
    """The image as 8-bit RGB, scaled and turned as the options say, and the EXIF tags it needs: the orientation if it is kept.

    Raises:
        RejectedError: unsupported or too_large.
    """
    longer = max(image.size)
    scale = min(1.0, (options.max_side or longer) / longer)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if max(size) > MAX_SIDE:
        raise RejectedError("too_large", f"{image.width} × {image.height} pixels, and a JPEG has at most {MAX_SIDE} a side")
    image.draft(None, (2 * size[0], 2 * size[1]))  # decodes a JPEG at a fraction of its size where that is enough
    rgb = _over_white(image)
    if scale < 1:
        rgb = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    # After decoding, which turns a TIFF upright and reads EXIF at the end of a PNG.
    if options.exif == "keep":
        return rgb, orientation_tags(image)
    orientation = _orientation(image)
    if orientation in _TRANSPOSE_BY_ORIENTATION:
        rgb = rgb.transpose(_TRANSPOSE_BY_ORIENTATION[orientation])
    return rgb, Image.Exif()


def orientation_tags(image: Image.Image) -> Image.Exif:
    """EXIF with the orientation of an image alone; empty if it is upright."""
    orientation, tags = _orientation(image), Image.Exif()
    if orientation in _TRANSPOSE_BY_ORIENTATION:
        tags[ORIENTATION] = orientation
    return tags


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except PILLOW_ERRORS:  # an image is not rejected for unreadable metadata
        return None


def _over_white(image: ImageFile) -> Image.Image:
    """Decode in full, to 8-bit RGB over a white background."""
    if image.mode in _UNSCALABLE_MODES:
        raise RejectedError("unsupported", f"{_UNSCALABLE_MODES[image.mode]} pixels: convert it to 8 or 16 bits a channel")
    _scale_transparent_color(image)
    picture = _from_16_bits(image) if image.mode.startswith("I;16") else image
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        picture = image.point(lambda ink: 255 - ink)  # Pillow inverts every CMYK JPEG, but only Adobe's are stored inverted
    if picture.has_transparency_data:
        if picture.mode != "RGBA":  # otherwise convert() would copy it, and it may be huge
            picture = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture)
        return white
    return picture.convert("RGB")


def _scale_transparent_color(image: ImageFile) -> None:
    """Scale a PNG's transparent colour to 8 bits in `image.info`, as Pillow scales the channels but not this colour."""
    color = image.info.get("transparency")
    if image.format == "PNG" and color is not None:
        bits = image.tile[0].args
        if bits == "RGB;16B":
            image.info["transparency"] = tuple(channel >> 8 for channel in color)
        elif bits in ("L;2", "L;4"):
            image.info["transparency"] = color * (85 if bits == "L;2" else 17)


def _from_16_bits(image: ImageFile) -> Image.Image:
    """8-bit gray, with alpha if a PNG has a transparent colour. (`convert("L")` would clip everything above 255 to white.)"""
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    wide = image.convert("I")
    maximum = 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1  # Pillow does not scale 12 bits
    gray = wide.point(lambda value: value * (255 / maximum) + 0.5).convert("L")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        gray = gray.point(lambda value: 255 - value)
    color = image.info.get("transparency")
    if color is not None:
        gray.putalpha(wide.point([255] * color + [0] + [255] * (65535 - color), "L"))
    return gray
