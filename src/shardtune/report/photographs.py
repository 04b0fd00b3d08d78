"""The photographs of a data set, small enough for a page."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from shardtune.dataset.example import decode_example
from shardtune.errors import DataError
from shardtune.input.reader import RecordReader

PIXELS = 112  # of the longer side: about 4 kB, and 10 kB of noise
QUALITY = 72


@dataclass(frozen=True)
class Picture:
    """A picture that is part of the page: its address holds it."""

    address: str
    width: int
    height: int


def thumbnails(reader: RecordReader, examples: Iterable[int]) -> Mapping[int, Picture]:
    """Small pictures of examples, by their number; of those that are damaged there is none."""
    found = {}
    for example in sorted(examples):
        try:
            (jpeg,) = decode_example(reader.read(np.array([example]))[0])["image/encoded"]
            found[example] = shrink(jpeg, PIXELS)
        except (DataError, OSError, ValueError, LookupError, TypeError, Image.DecompressionBombError):
            continue
    return found


def shrink(data: bytes, pixels: int) -> Picture:
    """The picture of a file, of at most so many pixels a side; raises what Pillow raises."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        image.draft("RGB", (pixels, pixels))
        small = image.convert("RGB")
    small.thumbnail((pixels, pixels))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=QUALITY, optimize=True)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}", *small.size)
