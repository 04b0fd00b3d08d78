import contextlib
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shardtune.build.images import ORIENTATION, ImageOptions, RejectedError, StoredImage, convert, read
from tests.pictures import encoded, picture


def load(path: Path) -> StoredImage:
    return convert(read(path), ImageOptions())


RGB = picture(np.random.default_rng(5))
JPEG = encoded(RGB, quality=90)
CLOSE = 6  # of 255, mean absolute: what JPEG at quality 95 may change in a smooth picture


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def halves(left: str, right: str, mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (48, 36), left)
    image.paste(right, (24, 0, 48, 36))
    return image


def pixels(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image.convert("RGB"), np.float64)


CLEAN = {
    "jpeg": JPEG,
    "progressive jpeg": encoded(RGB, quality=80, progressive=True),
    "jpeg with upright exif": encoded(RGB, exif=exif(1)),
    "several pictures in one jpeg (MPO)": encoded(RGB, "MPO", save_all=True, append_images=[RGB]),
    "one pixel": encoded(Image.new("RGB", (1, 1), "red")),
}
GRADIENT = np.linspace(0, 65535, 36 * 48).reshape(36, 48).astype(np.uint16)
# bytes of the file, why they are re-encoded, and what must be seen in the end
REENCODED: dict[str, tuple[bytes, str, npt.NDArray[np.float64]]] = {
    "png": (encoded(RGB, "PNG"), "png", pixels(RGB)),
    "gif": (encoded(RGB.quantize(64), "GIF"), "gif", pixels(RGB.quantize(64))),
    "bmp": (encoded(RGB, "BMP"), "bmp", pixels(RGB)),
    "webp": (encoded(RGB, "WEBP", lossless=True), "webp", pixels(RGB)),
    "tiff": (encoded(RGB, "TIFF"), "tiff", pixels(RGB)),
    "gray jpeg": (encoded(RGB.convert("L")), "gray", pixels(RGB.convert("L"))),
    "cmyk jpeg": (encoded(RGB.convert("CMYK")), "cmyk", pixels(RGB)),
    "one bit png": (encoded(Image.new("1", (48, 36), 1), "PNG"), "png", np.full((36, 48, 3), 255.0)),
    "palette with alpha, over white": (
        encoded(halves("red", "blue").quantize(2), "PNG", transparency=halves("red", "blue").quantize(2).getpixel((0, 0))),
        "png",
        pixels(halves("white", "blue")),
    ),
    "half transparent, over white": (
        encoded(halves("#ff000080", "blue", "RGBA"), "PNG"),
        "png",
        pixels(halves("#ff7f7f", "blue")),
    ),
    "16-bit png, scaled": (encoded(Image.fromarray(GRADIENT), "PNG"), "png", np.repeat(GRADIENT[..., None] / 257.0, 3, 2)),
    "on its side": (encoded(RGB, quality=95, exif=exif(6)), "orientation", np.rot90(pixels(RGB), -1)),
}
DAMAGED: dict[str, tuple[bytes, str]] = {
    "truncated at 10 %": (JPEG[: len(JPEG) // 10], "damaged"),
    "truncated at 50 %": (JPEG[: len(JPEG) // 2], "damaged"),
    "truncated at 99 %": (JPEG[: len(JPEG) * 99 // 100], "damaged"),
    "truncated png": (encoded(RGB, "PNG")[:-100], "damaged"),
    "empty": (b"", "empty"),
    "a web page": (b"<!DOCTYPE html><html><body>404</body></html>", "unsupported"),
    "a format not in the list": (encoded(RGB, "PPM"), "unsupported"),
    "far too large": (encoded(Image.new("1", (20000, 10000)), "PNG"), "too_large"),
}


def decodes(stored: bytes, height: int, width: int) -> npt.NDArray[np.float64]:
    """The pixels that training will see; checked to be of the recorded shape."""
    image = tf.io.decode_jpeg(stored).numpy()  # channels=0: as many as the file has
    assert image.shape == (height, width, 3)
    return np.asarray(image, np.float64)


@pytest.mark.parametrize("kind", CLEAN)
def test_a_clean_rgb_jpeg_keeps_its_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(CLEAN[kind])
    image = load(path)
    assert image.jpeg == CLEAN[kind]
    assert image.reencoded is None
    decodes(image.jpeg, image.height, image.width)


@pytest.mark.parametrize("name", ["image.jpg", "image"])  # the content decides, not the name
@pytest.mark.parametrize("kind", REENCODED)
def test_all_else_becomes_one(tmp_path: Path, kind: str, name: str) -> None:
    content, reason, expected = REENCODED[kind]
    path = tmp_path / name
    path.write_bytes(content)
    image = load(path)
    assert image.reencoded == reason
    assert image.jpeg != content
    seen = decodes(image.jpeg, image.height, image.width)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < CLOSE


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_ends_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(encoded(RGB, exif=exif(orientation)))
    image = load(path)
    assert image.reencoded == "orientation"
    assert ((image.height, image.width) == (48, 36)) == (orientation >= 5)
    assert load_again(tmp_path, image.jpeg).reencoded is None


def load_again(directory: Path, jpeg: bytes) -> StoredImage:
    (directory / "again.jpg").write_bytes(jpeg)
    return load(directory / "again.jpg")


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_cannot_be_stored_is_rejected_with_its_reason(tmp_path: Path, kind: str) -> None:
    content, code = DAMAGED[kind]
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(RejectedError, match=f"^{code}: .") as rejected:
        load(path)
    assert rejected.value.code == code


def test_what_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    for name in ("folder.jpg", "dangling.jpg", "missing.jpg"):
        with pytest.raises(RejectedError, match=r"^unreadable: (Is a directory|No such file or directory)"):
            load(tmp_path / name)


@given(st.sampled_from(list(CLEAN) + list(REENCODED)), st.data())
@settings(max_examples=300)
def test_damage_anywhere_raises_nothing_but_a_rejection(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(CLEAN.get(kind) or REENCODED[kind][0])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged metadata
        with contextlib.suppress(RejectedError):
            image = load(path)
            assert image.jpeg
            assert (image.jpeg == bytes(content)) == (image.reencoded is None)
