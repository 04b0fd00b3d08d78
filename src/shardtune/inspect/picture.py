"""Write the picture of `shardtune inspect`."""

from pathlib import Path

from PIL import Image

from shardtune.errors import DataError
from shardtune.runtime.files import atomic_write


def write_png(picture: Image.Image, path: Path) -> None:
    """Write `picture` to `path`.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with atomic_write(path) as file:
            picture.save(file, "PNG")
    except OSError as error:
        raise DataError(
            f"The picture cannot be written to {path} ({error.strerror or error}).", "Choose another file with --output."
        ) from error
