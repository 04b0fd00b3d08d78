"""Small real pictures: smooth random colour, so that they compress like photographs and no two are alike."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def picture(generator: np.random.Generator, width: int = 48, height: int = 36) -> Image.Image:
    """An RGB image."""
    return Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """`image` as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def plant(directory: Path, *, per_class: int, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """Make `directory/label/label-00.jpg` and so on, each of its own size and content; returns `directory`."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (directory / name).mkdir(parents=True)
        for number in range(per_class):
            width, height = (int(side) for side in generator.integers(24, 64, 2))
            path = directory / name / f"{name}-{number:02d}.jpg"
            path.write_bytes(encoded(picture(generator, width, height), quality=90))
    return directory
