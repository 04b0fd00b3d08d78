"""Metadata is taken out of JPEGs, and nothing else."""

import io
import re
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shardtune.images.jpeg import SEGMENT, is_clean
from shardtune.images.metadata import strip_metadata
from shardtune.images.pixels import ORIENTATION, ImageOptions
from shardtune.images.source import RejectedError
from shardtune.images.stored import to_stored_image
from tests.images.handmade import before_scan
from tests.images.image_files import CLEAN, JPEG, OTHER, PROGRESSIVE, REENCODED, RGB, seen_by_tensorflow
from tests.pictures import encoded

SECRET = b"Ada at 51.5 N"
XMP = b"http://ns.adobe.com/xap/1.0/\0" + SECRET
STRIP = ImageOptions(strip_metadata=True)


def tagged(orientation: int = 1) -> bytes:
    """EXIF with a name and a place."""
    tags = Image.Exif()
    tags[ORIENTATION], tags[0x013B] = orientation, SECRET.decode()  # artist
    tags.get_ifd(0x8825)[1] = "N"  # GPS
    return tags.tobytes()


def segment(marker: int, payload: bytes) -> bytes:
    return SEGMENT.pack(0xFF00 + marker, 2 + len(payload)) + payload


def markers(jpeg: bytes) -> list[int]:
    """The second byte of each marker up to the first scan."""
    found, at = [], 2
    while not found or found[-1] != 0xDA:
        marker, length = SEGMENT.unpack_from(jpeg, at)
        found.append(marker & 0xFF)
        at += 2 + length
    return found


def assert_same_pixels(one: bytes, other: bytes) -> None:
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(one))), np.asarray(Image.open(io.BytesIO(other))))
    np.testing.assert_array_equal(seen_by_tensorflow(one), seen_by_tensorflow(other))


@pytest.mark.parametrize("kind", [*CLEAN, *REENCODED])
@pytest.mark.parametrize("check", ["full", "header"])
def test_the_pixels_of_every_kind_of_image_stay(kind: str, check: Literal["full", "header"]) -> None:
    content = CLEAN[kind] if kind in CLEAN else REENCODED[kind][0]
    whole, stripped = (to_stored_image(content, ImageOptions(check=check, strip_metadata=strip)) for strip in (False, True))
    assert_same_pixels(whole.jpeg, stripped.jpeg)
    assert (stripped.height, stripped.width, stripped.reencoded) == (whole.height, whole.width, whole.reencoded)
    assert to_stored_image(stripped.jpeg, STRIP).jpeg == stripped.jpeg  # there is nothing more to take out


SECRETS = {
    "exif": encoded(RGB, exif=tagged()),
    "comment": encoded(RGB, comment=SECRET),
    "xmp": encoded(RGB, xmp=SECRET),
    "xmp, before the scan": before_scan(JPEG, segment(0xE1, XMP)),
    "iptc": before_scan(JPEG, segment(0xED, b"Photoshop 3.0\0" + SECRET)),
    "between scans": PROGRESSIVE.replace(b"\xff\xc4", segment(0xFE, SECRET) + b"\xff\xc4"),
    "after the end": JPEG + SECRET,
    "another picture": encoded(RGB, "MPO", save_all=True, append_images=[OTHER], exif=tagged()),
    "a maker's own": before_scan(JPEG, segment(0xE5, SECRET) + segment(0xEF, SECRET) + segment(0xE0, b"JFXX\0" + SECRET)),
    "not Adobe's": before_scan(JPEG, segment(0xEE, SECRET)),
    "not a profile": before_scan(JPEG, segment(0xE2, b"ICC\0" + SECRET)),
    "gray": encoded(RGB.convert("L"), exif=tagged(), comment=SECRET),
    "png": encoded(RGB, "PNG", exif=tagged()),
    "turned": encoded(RGB, exif=tagged(6), comment=SECRET),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_name_and_no_place_is_left(kind: str) -> None:
    content = SECRETS[kind]
    if kind != "png":  # compressed there
        assert SECRET in content
    whole, stripped = to_stored_image(content, ImageOptions()).jpeg, to_stored_image(content, STRIP).jpeg
    assert SECRET not in stripped
    assert not Image.open(io.BytesIO(stripped)).getexif()
    assert_same_pixels(whole, stripped)
    assert set(markers(stripped)) <= {0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDA}


def test_a_thumbnail_is_no_secret_left() -> None:
    thumbnail = b"JFIF\0\1\1\0\0\1\0\1\1\1" + b"\x12\x34\x56"  # of one pixel
    content = JPEG[:2] + segment(0xE0, thumbnail) + JPEG[20:]
    stripped = to_stored_image(content, STRIP).jpeg
    assert stripped == JPEG[:2] + segment(0xE0, thumbnail[:12] + b"\0\0") + JPEG[20:]
    assert_same_pixels(content, stripped)


def test_what_decides_the_colours_stays() -> None:
    adobe = b"Adobe\0\x64\0\0\0\0\0"  # the last byte says RGB: the decoder must not convert it
    content = JPEG[:2] + segment(0xEE, adobe + SECRET) + segment(0xE2, b"ICC_PROFILE\0\1\1profile") + JPEG[20:]
    stripped = to_stored_image(content, STRIP).jpeg
    assert stripped == content.replace(segment(0xEE, adobe + SECRET), segment(0xEE, adobe))
    assert_same_pixels(content, stripped)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_as_exif_says(orientation: int) -> None:
    content = encoded(RGB, exif=tagged(orientation))
    kept = to_stored_image(content, ImageOptions(exif="keep", strip_metadata=True)).jpeg
    tags = dict(Image.open(io.BytesIO(kept)).getexif())
    assert tags == ({ORIENTATION: orientation} if orientation > 1 else {})
    assert SECRET not in kept
    assert_same_pixels(content, kept)
    upright = to_stored_image(content, STRIP).jpeg
    assert not Image.open(io.BytesIO(upright)).getexif()
    assert_same_pixels(to_stored_image(content, ImageOptions()).jpeg, upright)


SEGMENTS = st.lists(st.tuples(st.sampled_from([*range(0xE0, 0xF0), 0xFE]), st.binary(max_size=40)), max_size=5)


@given(SEGMENTS, st.booleans(), st.binary(max_size=10))
def test_any_segments_may_stand_there(segments: list[tuple[int, bytes]], progressive: bool, after: bytes) -> None:
    content = before_scan(PROGRESSIVE if progressive else JPEG, b"".join(segment(*each) for each in segments)) + after
    image = Image.open(io.BytesIO(content))
    if not is_clean(content, image.layer):  # type: ignore[attr-defined]
        return
    stripped = strip_metadata(content)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(stripped))))
    assert stripped.endswith(b"\xff\xd9")
    assert strip_metadata(stripped) == stripped


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_small_images_are_rejected(kind: str) -> None:
    content = encoded(RGB, kind)  # 48 × 36
    assert to_stored_image(content, ImageOptions(min_side=36)).height == 36
    with pytest.raises(RejectedError, match=f"^{re.escape('too_small: 48 × 36 pixels, and --min_side is 37')}$"):
        to_stored_image(content, ImageOptions(min_side=37))
    assert to_stored_image(content, ImageOptions(min_side=36, max_side=20)).width == 20
