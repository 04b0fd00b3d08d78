"""Gray JPEGs become RGB ones whose pixels are, in every decoder and channel, those of the gray ones."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from shardtune.images.gray import add_chroma
from shardtune.images.pixels import ORIENTATION, ImageOptions
from shardtune.images.stored import to_stored_image
from tests.images.handmade import before_scan, with_frame, without_segment
from tests.pictures import encoded, picture

GRAY = picture(np.random.default_rng(3), 47, 33).convert("L")
JPEG, PROGRESSIVE = encoded(GRAY), encoded(GRAY, progressive=True)
ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # transform 0: three channels are RGB
VARIANTS = (
    {},
    {"optimize": True},
    {"progressive": True},
    {"restart_marker_blocks": 3},
    {"progressive": True, "restart_marker_rows": 1},
)


def three(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(gray.reshape(*gray.shape[:2], 1), 3, axis=2)


def require_same_pixels(gray: bytes, rgb: bytes, window: list[int]) -> None:
    """As Pillow and TensorFlow decode them, in whole and a window (top, left, height, width)."""
    with Image.open(io.BytesIO(gray)) as one, Image.open(io.BytesIO(rgb)) as other:
        assert other.mode == "RGB"
        assert np.array_equal(three(np.asarray(one)), np.asarray(other))
    for method in ("", "INTEGER_FAST", "INTEGER_ACCURATE"):
        expected = three(tf.io.decode_jpeg(gray, channels=1, dct_method=method).numpy())
        for channels in (0, 3):
            assert np.array_equal(tf.io.decode_jpeg(rgb, channels=channels, dct_method=method).numpy(), expected)
    expected = three(tf.io.decode_and_crop_jpeg(gray, window, channels=1).numpy())
    assert np.array_equal(tf.io.decode_and_crop_jpeg(rgb, window, channels=3).numpy(), expected)


@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from(VARIANTS),
    st.integers(1, 100),
    st.sampled_from([b"\x11", b"\x22", b"\x21", b"\x41"]),
    st.data(),
)
@settings(max_examples=60)
@example((1, 1), {}, 95, b"\x11", None)
@example((1, 1), {"progressive": True}, 95, b"\x22", None)
@example((17, 8), {"restart_marker_blocks": 1}, 100, b"\x22", None)
def test_a_gray_jpeg_becomes_rgb_without_loss(
    size: tuple[int, int], options: dict[str, Any], quality: int, sampling: bytes, data: st.DataObject | None
) -> None:
    width, height = size
    generator = np.random.default_rng(width * 100 + height)
    jpeg = encoded(picture(generator, width, height).convert("L"), quality=quality, **options)
    frame = b"\xff\xc2" if "progressive" in options else b"\xff\xc0"
    at = jpeg.index(frame) + 11
    jpeg = jpeg[:at] + sampling + jpeg[at + 1 :]
    image = to_stored_image(jpeg, ImageOptions())
    assert (image.width, image.height, image.reencoded) == (width, height, "gray_lossless")
    assert to_stored_image(image.jpeg, ImageOptions()).reencoded is None
    assert to_stored_image(jpeg, ImageOptions(check="header")) == image
    if any("restart" in option for option in options):  # which libjpeg would not miss, but the standard wants
        assert b"\xff\xdd\0\4\0\0" in image.jpeg
    top = data.draw(st.integers(0, height - 1)) if data else 0
    left = data.draw(st.integers(0, width - 1)) if data else 0
    window = [top, left, height - top, width - left]
    if data:
        window[2:] = data.draw(st.integers(1, window[2])), data.draw(st.integers(1, window[3]))
    require_same_pixels(jpeg, image.jpeg, window)


@pytest.mark.parametrize(
    "jpeg",
    [
        JPEG.replace(b"\xff\xc0", b"\xff\xc1"),  # extended
        before_scan(JPEG, ADOBE),
        before_scan(without_segment(JPEG, 0xE0), ADOBE),
        without_segment(JPEG, 0xE0),
        before_scan(JPEG, b"\xff\xff\xff"),  # fill bytes
        encoded(GRAY, comment=b"\xff\xd9", icc_profile=bytes(100_000)),
        encoded(GRAY, exif=b"Exif\0\0nothing of the kind"),
        encoded(GRAY, "MPO", save_all=True, append_images=[GRAY]),
        JPEG + b"trailer" + PROGRESSIVE,
    ],
)
def test_what_stands_around_the_picture_does_not_matter(jpeg: bytes) -> None:
    image = to_stored_image(jpeg, ImageOptions())
    assert image.reencoded == "gray_lossless"
    assert to_stored_image(image.jpeg, ImageOptions()).reencoded is None
    require_same_pixels(jpeg, image.jpeg, [3, 5, 20, 30])


def test_what_is_said_beside_the_picture_stays_unless_it_is_no_longer_true() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    jpeg = before_scan(encoded(GRAY, comment=b"by hand", icc_profile=b"of gray", exif=exif, dpi=(72, 72)), ADOBE)
    image = to_stored_image(jpeg + b"trailer", ImageOptions(exif="keep"))
    assert image.reencoded == "gray_lossless"
    with Image.open(io.BytesIO(image.jpeg)) as stored:
        assert stored.getexif()[ORIENTATION] == 6
        assert stored.info["comment"] == b"by hand"
        assert stored.info["jfif_density"] == (72, 72)
        assert not {"adobe", "icc_profile"} & stored.info.keys()
    assert image.jpeg.endswith(b"\xff\xd9")
    assert len(image.jpeg) < len(jpeg) + 150


@pytest.mark.parametrize(
    "jpeg",
    [
        JPEG[:2] + before_scan(JPEG, b"\0\1\2\3")[2:],  # stray bytes
        JPEG[:-2] + bytes(64),  # no end marker
        with_frame(JPEG, 0, b"\x0c"),  # 12 bits
        encoded(GRAY.convert("RGB")),
        JPEG[:-2] + JPEG[JPEG.index(b"\xff\xda") :],  # a second scan of a baseline picture
        before_scan(JPEG, b"\xff\xdc\0\4\0\x21"),  # the height after the frame
        before_scan(JPEG, JPEG[JPEG.index(b"\xff\xc0") :][:13]),  # two frames
        JPEG.replace(b"\xff\xda\0\x08\1\1", b"\xff\xda\0\x08\1\2"),  # a scan of another channel
        JPEG[: JPEG.index(b"\xff\xc0")] + b"\xff\xd9",
        # Its last scans are missing: decoders then smooth what they have, and those of three channels otherwise.
        PROGRESSIVE[: PROGRESSIVE.index(b"\xff\xc4", PROGRESSIVE.rindex(b"\xff\xda") - 60)] + b"\xff\xd9",
    ],
)
def test_anything_unusual_is_left_to_others(jpeg: bytes) -> None:
    assert add_chroma(jpeg) is None
