"""One image file into the JPEG that is stored, or the reason why it cannot be."""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
JPEG_QUALITY = 95
ORIENTATION = 0x0112  # EXIF tag


class RejectedError(Exception):
    """An image that cannot be stored: a reason code, and what was seen."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class StoredImage:
    """What goes into an example.

    Attributes:
        jpeg: an RGB JPEG, upright.
        height, width: in pixels.
        reencoded: why the bytes are not the file's own, or None where they are.
    """

    jpeg: bytes
    height: int
    width: int
    reencoded: str | None


@dataclass(frozen=True)
class ImageOptions:
    check: str = "full"
    exif: str = "upright"
    max_side: int | None = None
    quality: int = 95


def read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RejectedError("unreadable", error.strerror or str(error)) from error
    if not data:
        raise RejectedError("empty", "the file has no bytes")
    return data


def convert(data: bytes, options: ImageOptions) -> StoredImage:
    """Read and decode a file in full. A clean upright RGB JPEG keeps its bytes; all else becomes one.

    Raises:
        RejectedError: with the code unreadable, empty, unsupported, too_large or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _store(image, data)
    except UnidentifiedImageError as error:
        raise RejectedError("unsupported", f"not one of {', '.join(FORMATS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RejectedError("too_large", str(error)) from error
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error) as error:
        raise RejectedError("damaged", str(error)) from error  # what Pillow's decoders raise on broken data


def _store(image: Image.Image, data: bytes) -> StoredImage:
    width, height = image.size
    reason = _reason(image)
    if reason is None:
        # Pillow's verify() accepts truncated JPEGs. A decode at 1/8 scale reads every entropy-coded byte, and is faster.
        image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
        image.load()
        return StoredImage(data, height, width, None)
    rgb = _to_rgb(ImageOps.exif_transpose(image))
    out = io.BytesIO()
    rgb.save(out, "JPEG", quality=JPEG_QUALITY)
    return StoredImage(out.getvalue(), rgb.height, rgb.width, reason)


def _reason(image: Image.Image) -> str | None:
    if image.format not in ("JPEG", "MPO"):
        return str(image.format).lower()
    if image.mode != "RGB":
        return {"L": "gray", "CMYK": "cmyk"}.get(image.mode, image.mode)
    if image.getexif().get(ORIENTATION, 1) not in (0, 1):
        return "orientation"
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: convert() would clip everything above 255 to white
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
