"""What is stored of each kind of image file."""

import contextlib
import io
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shardtune.images.pixels import ORIENTATION, ImageOptions
from shardtune.images.source import RejectedError
from shardtune.images.stored import StoredImage, pillow_warnings_ignored, to_stored_image
from tests.images.image_files import (
    BROKEN_EXIF,
    CLEAN,
    JPEG,
    PROGRESSIVE,
    REENCODED,
    REJECTED,
    RGB,
    RNG,
    Pixels,
    exif,
    oriented,
    pixels,
    seen_by_tensorflow,
)
from tests.launching import ENVIRONMENT
from tests.pictures import encoded, picture

CLOSE = 6  # of 255, mean absolute: what JPEG at quality 95 may change in a smooth picture
CODES = {"heic", "unsupported", "too_large", "truncated", "damaged"}


def decoded(image: StoredImage) -> Pixels:
    """What training sees, each way in which it may ask for it: of the recorded shape."""
    seen = tf.io.decode_jpeg(image.jpeg).numpy()  # channels=0: as many as the file has
    assert seen.shape == (image.height, image.width, 3)
    assert np.array_equal(seen, tf.io.decode_jpeg(image.jpeg, channels=3).numpy())
    window = [0, 0, image.height, image.width]
    assert np.array_equal(seen, tf.io.decode_and_crop_jpeg(image.jpeg, window, channels=3).numpy())
    return np.asarray(seen, np.float64)


@pytest.mark.parametrize("kind", CLEAN)
def test_a_clean_rgb_jpeg_keeps_its_bytes(kind: str) -> None:
    content = CLEAN[kind]
    image = to_stored_image(content, ImageOptions())
    assert image.jpeg == content
    assert image.reencoded is None
    decoded(image)
    with Image.open(io.BytesIO(content)) as same:
        exact = tf.io.decode_jpeg(image.jpeg, dct_method="INTEGER_ACCURATE").numpy()
        assert np.array_equal(exact, np.asarray(same))


@pytest.mark.parametrize("kind", REENCODED)
def test_all_else_becomes_one(kind: str) -> None:
    content, reason, expected = REENCODED[kind]
    image = to_stored_image(content, ImageOptions())
    assert image.reencoded == reason
    seen = decoded(image)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < CLOSE
    assert to_stored_image(image.jpeg, ImageOptions()).reencoded is None


@pytest.mark.parametrize("kind", REJECTED)
def test_what_cannot_be_stored_is_rejected_with_its_reason(kind: str) -> None:
    content, code, detail = REJECTED[kind]
    with pytest.raises(RejectedError, match=detail or None) as rejected:
        to_stored_image(content, ImageOptions())
    assert rejected.value.code == code
    assert " at 0x" not in rejected.value.detail  # equal runs write equal rejects.jsonl


def test_check_header_trusts_what_lies_between_the_markers_of_a_clean_jpeg() -> None:
    header = ImageOptions(check="header")
    undecodable = REJECTED["bogus Huffman tables"][0]
    assert to_stored_image(undecodable, header) == StoredImage(undecodable, 36, 48, None)
    for kind, content in CLEAN.items():
        assert to_stored_image(content, header) == to_stored_image(content, ImageOptions()), kind
    for kind, (content, reason, _) in REENCODED.items():
        assert to_stored_image(content, header).reencoded == reason, kind
    for kind in ("jpeg, cut at 50 %", "png, cut at 99 %", "two frames", "something amid the compressed data"):
        with pytest.raises(RejectedError):
            to_stored_image(REJECTED[kind][0], header)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_keep_leaves_tag_and_pixels(kind: str) -> None:
    content = oriented(kind, 6)
    image = to_stored_image(content, ImageOptions(exif="keep"))
    assert (image.jpeg == content) == (kind == "JPEG")
    assert np.abs(decoded(image) - pixels(RGB)).mean() < CLOSE
    with Image.open(io.BytesIO(image.jpeg)) as stored:
        assert stored.getexif()[ORIENTATION] == 6
    upright = to_stored_image(content, ImageOptions())
    assert np.abs(decoded(upright) - np.rot90(pixels(RGB), -1)).mean() < CLOSE
    with Image.open(io.BytesIO(upright.jpeg)) as stored:
        assert not stored.getexif()


@pytest.mark.parametrize(
    ("longest", "size"), [(2, (2, 2)), (5, (5, 4)), (24, (24, 18)), (47, (47, 35)), (48, (48, 36)), (99, (48, 36))]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_max_side_scales_down_and_never_up(kind: str, longest: int, size: tuple[int, int]) -> None:
    image = to_stored_image(encoded(RGB, kind), ImageOptions(max_side=longest))
    assert (image.width, image.height) == size
    assert image.reencoded == (kind.lower() if kind != "JPEG" else "max_side" if longest < 48 else None)
    expected = seen_by_tensorflow(encoded(RGB.resize(size, Image.Resampling.LANCZOS), quality=95))
    assert np.abs(decoded(image) - expected).mean() < CLOSE


def test_max_side_of_a_large_turned_jpeg() -> None:
    large = picture(RNG, 1200, 370)
    image = to_stored_image(encoded(large, exif=exif(6)), ImageOptions(max_side=100))
    assert (image.width, image.height, image.reencoded) == (31, 100, "orientation")
    expected = large.resize((100, 31), Image.Resampling.LANCZOS).transpose(Image.Transpose.ROTATE_270)
    assert np.abs(decoded(image) - pixels(expected)).mean() < CLOSE


def test_max_side_makes_a_jpeg_of_a_longer_side_than_any_has() -> None:
    image = to_stored_image(REJECTED["side that no jpeg has"][0], ImageOptions(max_side=1000))
    assert decoded(image).shape == (1, 1000, 3)


def test_quality_is_that_of_what_is_reencoded() -> None:
    sizes = [len(to_stored_image(encoded(RGB, "PNG"), ImageOptions(quality=quality)).jpeg) for quality in (10, 50, 95)]
    assert sizes == sorted(set(sizes))
    assert to_stored_image(JPEG, ImageOptions(quality=10)).jpeg == JPEG


def test_a_clean_jpeg_imports_no_other_format() -> None:
    code = f"""
import sys
from shardtune.images.stored import to_stored_image
from shardtune.images.pixels import ImageOptions
to_stored_image({JPEG!r}, ImageOptions())
print([name for name in sys.modules if name.startswith("PIL.") and name.endswith("Plugin")])
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "['PIL.JpegImagePlugin']\n"


@st.composite
def damage(draw: st.DrawFn) -> bytes:
    """A file of the tables above after one or two accidents, half of them in its first 700 bytes, none in its first three."""
    content = bytearray(
        draw(st.sampled_from(list(CLEAN.values())) | st.sampled_from([content for content, _, _ in REENCODED.values()]))
    )
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(3, 700) | st.integers(3, max(3, len(content))))
        other = draw(st.sampled_from([JPEG, PROGRESSIVE, bytes(content)]))
        start = draw(st.integers(0, len(other)))
        new = draw(
            st.binary(min_size=1, max_size=3)
            | st.integers(0, 255).map(lambda marker: bytes((0xFF, marker)))
            | st.sampled_from([other[start : start + 30], other[start:]])
        )
        content[at : at + draw(st.sampled_from([len(new), len(new), 0, 30]))] = new
    return bytes(content)


@given(damage())
@settings(max_examples=300)
def test_whatever_is_stored_of_damaged_files_is_decoded_by_tensorflow(content: bytes) -> None:
    try:
        image = to_stored_image(content, ImageOptions())
    except RejectedError as rejected:
        code, detail = rejected.code, rejected.detail
    else:
        decoded(image)
        assert (image.jpeg == content) == (image.reencoded is None)
        return
    assert code in CODES
    assert detail


@given(damage())
@settings(max_examples=50)
def test_check_header_raises_nothing_but_a_rejection(content: bytes) -> None:
    with contextlib.suppress(RejectedError):
        to_stored_image(content, ImageOptions(check="header"))


def test_warnings_of_pillow_are_ignored_and_no_others() -> None:
    jpeg = encoded(RGB, exif=BROKEN_EXIF)
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        to_stored_image(jpeg, ImageOptions())
    with warnings.catch_warnings(record=True) as seen, pillow_warnings_ignored():
        warnings.filterwarnings("always", message="of the program")
        to_stored_image(jpeg, ImageOptions())
        warnings.warn("of the program", stacklevel=1)
    assert [str(each.message) for each in seen] == ["of the program"]


def test_threads_leave_the_filters_of_warnings_as_they_were() -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: to_stored_image(JPEG, ImageOptions()), range(500)))
    assert warnings.filters == before
