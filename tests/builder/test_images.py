import contextlib
import io
import re
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from shardtune.builder.images import StoredImage, to_stored_image
from shardtune.builder.pixels import MAX_SIDE, ORIENTATION, ImageOptions
from shardtune.builder.source import RejectedError
from tests.builder.handmade import ARITHMETIC_JPEG, before_scan, gray_tiff, png, with_frame, without_segment, ycck_jpeg
from tests.launching import ENVIRONMENT
from tests.pictures import encoded, picture

Pixels = npt.NDArray[np.float64]

RNG = np.random.default_rng(5)
RGB = picture(RNG)  # 48 × 36
JPEG = encoded(RGB, quality=90)
PROGRESSIVE = encoded(RGB, quality=80, progressive=True)
CLOSE = 6  # of 255, mean absolute: what JPEG at quality 95 may change in a smooth picture
CODES = {"heic", "unsupported", "too_large", "truncated", "damaged"}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def halves(left: str, right: str, mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (48, 36), left)
    image.paste(right, (24, 0, 48, 36))
    return image


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), np.float64)


def gray(values: npt.ArrayLike) -> Pixels:
    return np.repeat(np.asarray(values, np.float64)[..., None], 3, axis=2)


def seen_by_tensorflow(jpeg: bytes) -> Pixels:
    return np.asarray(tf.io.decode_jpeg(jpeg, channels=3).numpy(), np.float64)


def decoded(image: StoredImage) -> Pixels:
    """What training sees, each way in which it may ask for it: of the recorded shape."""
    seen = tf.io.decode_jpeg(image.jpeg).numpy()  # channels=0: as many as the file has
    assert seen.shape == (image.height, image.width, 3)
    assert np.array_equal(seen, tf.io.decode_jpeg(image.jpeg, channels=3).numpy())
    window = [0, 0, image.height, image.width]
    assert np.array_equal(seen, tf.io.decode_and_crop_jpeg(image.jpeg, window, channels=3).numpy())
    return np.asarray(seen, np.float64)


def oriented(kind: str, orientation: int) -> bytes:
    return encoded(RGB, kind, exif=exif(orientation).tobytes())


GRADIENT = np.linspace(0, 65535, 36 * 48).reshape(36, 48).astype(np.uint16)
LITTLE, BIG = GRADIENT.astype("<u2").tobytes(), GRADIENT.astype(">u2").tobytes()
GRADIENT_ROWS = [row.astype(">u2").tobytes() for row in GRADIENT]
COLOURS_16 = np.stack([GRADIENT, GRADIENT[::-1], GRADIENT[:, ::-1]], axis=2)
COLOUR_ROWS = [row.astype(">u2").tobytes() for row in COLOURS_16]
INKS = Image.merge("CMYK", (*picture(RNG).split(), picture(RNG).convert("L").point(lambda value: value // 2)))
CMYK, YCCK = encoded(INKS, quality=95), ycck_jpeg(INKS)
OTHER = picture(np.random.default_rng(6))

BESIDE_WHITE = pixels(halves("white", "#555555"))

CLEAN = {
    "baseline": JPEG,
    "progressive": PROGRESSIVE,
    "extended": JPEG.replace(b"\xff\xc0", b"\xff\xc1"),
    "4:4:4": encoded(RGB, subsampling=0),
    "4:2:2": encoded(RGB, subsampling=1),
    "restart markers": encoded(RGB, restart_marker_blocks=2),
    "without JFIF": without_segment(JPEG, 0xE0),
    "RGB, by Adobe's marker": encoded(RGB, keep_rgb=True),
    "comment, profile": encoded(RGB, comment=b"\xff\xd9", icc_profile=bytes(100_000)),
    "fill bytes": before_scan(JPEG, b"\xff\xff\xff"),
    "something after its end": JPEG + b"trailer" + JPEG,
    "several pictures (MPO)": encoded(RGB, "MPO", save_all=True, append_images=[OTHER]),
    "upright": oriented("JPEG", 1),
    "no such orientation": oriented("JPEG", 9),
    "broken EXIF": encoded(RGB, exif=b"Exif\0\0nothing of the kind", dpi=(72, 72)),
    "one pixel": encoded(Image.new("RGB", (1, 1), "red")),
}
# Bytes of the file, why they are re-encoded, and what must be seen in the end.
REENCODED: dict[str, tuple[bytes, str, Pixels]] = {
    "png": (encoded(RGB, "PNG"), "png", pixels(RGB)),
    "png of 1 bit": (encoded(Image.new("1", (48, 36), 1), "PNG"), "png", gray(np.full((36, 48), 255))),
    "png of 2 bits, one transparent": (
        png(48, 2, 0, [b"\xaa" * 6 + b"\x55" * 6] * 36, (b"tRNS", b"\0\2")),
        "png",
        BESIDE_WHITE,
    ),
    "png of 4 bits, one transparent": (
        png(48, 4, 0, [b"\x77" * 12 + b"\x55" * 12] * 36, (b"tRNS", b"\0\7")),
        "png",
        BESIDE_WHITE,
    ),
    "png of 8 bits, one transparent": (
        png(48, 8, 0, [b"\7" * 24 + b"\x55" * 24] * 36, (b"tRNS", b"\0\7")),
        "png",
        BESIDE_WHITE,
    ),
    "png of 16 bits": (png(48, 16, 0, GRADIENT_ROWS), "png", gray(GRADIENT / 257)),
    "png of 16 bits, one transparent": (
        png(48, 16, 0, [b"\1\2" * 24 + b"\x55\0" * 24] * 36, (b"tRNS", b"\1\2")),
        "png",
        BESIDE_WHITE,
    ),
    "png of 3 × 16 bits": (png(48, 16, 2, COLOUR_ROWS), "png", COLOURS_16 / 257),
    "png of 3 × 16 bits, one transparent": (
        png(48, 16, 2, [b"\1\2\3\4\5\6" * 24 + b"\x55\0" * 72] * 36, (b"tRNS", b"\1\2\3\4\5\6")),
        "png",
        BESIDE_WHITE,
    ),
    "png of 4 × 16 bits": (png(48, 16, 6, [b"\x55\0\x55\0\x55\0\x80\0" * 48] * 36), "png", gray(np.full((36, 48), 170))),
    "png, half transparent": (encoded(halves("#ff000080", "blue", "RGBA"), "PNG"), "png", pixels(halves("#ff7f7f", "blue"))),
    "png, gray, transparent": (encoded(halves("#00000000", "#555555", "LA"), "PNG"), "png", BESIDE_WHITE),
    "png, palette": (encoded(RGB.quantize(64), "PNG"), "png", pixels(RGB.quantize(64))),
    "png, palette, one transparent": (
        encoded(halves("red", "blue").quantize(2), "PNG", transparency=halves("red", "blue").quantize(2).getpixel((0, 0))),
        "png",
        pixels(halves("white", "blue")),
    ),
    "gif": (encoded(RGB.quantize(64), "GIF"), "gif", pixels(RGB.quantize(64))),
    "gif, moving": (encoded(RGB.quantize(64), "GIF", save_all=True, append_images=[OTHER]), "gif", pixels(RGB.quantize(64))),
    "gif with a long comment": (encoded(RGB.quantize(64), "GIF", comment=b"x" * 70_000), "gif", pixels(RGB.quantize(64))),
    "gif, one transparent": (encoded(halves("#ff000000", "blue", "RGBA"), "GIF"), "gif", pixels(halves("white", "blue"))),
    "bmp": (encoded(RGB, "BMP"), "bmp", pixels(RGB)),
    "bmp, palette": (encoded(RGB.quantize(64), "BMP"), "bmp", pixels(RGB.quantize(64))),
    "webp": (encoded(RGB, "WEBP", lossless=True), "webp", pixels(RGB)),
    "webp, moving": (encoded(RGB, "WEBP", lossless=True, save_all=True, append_images=[OTHER]), "webp", pixels(RGB)),
    "webp, transparent": (
        encoded(halves("#ff000000", "blue", "RGBA"), "WEBP", lossless=True),
        "webp",
        pixels(halves("white", "blue")),
    ),
    "tiff": (encoded(RGB, "TIFF"), "tiff", pixels(RGB)),
    "tiff, compressed": (encoded(RGB, "TIFF", compression="tiff_lzw"), "tiff", pixels(RGB)),
    "tiff of two pages": (encoded(RGB, "TIFF", save_all=True, append_images=[OTHER.copy()]), "tiff", pixels(RGB)),
    "tiff, big": (encoded(RGB, "TIFF", big_tiff=True), "tiff", pixels(RGB)),
    "tiff, CMYK": (encoded(INKS, "TIFF"), "tiff", pixels(INKS)),
    "tiff of 16 bits": (gray_tiff(48, 36, 16, LITTLE), "tiff", gray(GRADIENT / 257)),
    "tiff of 16 bits, big-endian": (gray_tiff(48, 36, 16, BIG, order=">"), "tiff", gray(GRADIENT / 257)),
    "tiff of 16 bits, white is zero": (
        gray_tiff(48, 36, 16, LITTLE, white_is_zero=True),
        "tiff",
        gray(255 - GRADIENT / 257),
    ),
    "tiff of 12 bits": (gray_tiff(48, 36, 12, b"\x55\x55\x55" * 24 * 36), "tiff", gray(np.full((36, 48), 85))),
    "tiff on its side": (oriented("TIFF", 6), "tiff", np.rot90(pixels(RGB), -1)),
    "gray": (encoded(RGB.convert("L")), "gray_lossless", pixels(RGB.convert("L"))),
    "gray, progressive": (encoded(RGB.convert("L"), progressive=True), "gray_lossless", pixels(RGB.convert("L"))),
    "gray, no end marker": (encoded(RGB.convert("L"))[:-2] + bytes(64), "gray", pixels(RGB.convert("L"))),
    "gray, on its side": (encoded(RGB.convert("L"), exif=exif(6)), "gray", np.rot90(pixels(RGB.convert("L")), -1)),
    "cmyk, inverted as Adobe does": (CMYK, "cmyk", seen_by_tensorflow(CMYK)),
    "cmyk, as it is": (without_segment(CMYK, 0xEE), "cmyk", seen_by_tensorflow(without_segment(CMYK, 0xEE))),
    "ycck": (YCCK, "cmyk", pixels(INKS)),
    "arithmetic coding": (ARITHMETIC_JPEG, "nonstandard", seen_by_tensorflow(ARITHMETIC_JPEG)),
    "stray bytes before its tables": (JPEG[:2] + before_scan(JPEG, b"\0\1\2\3")[2:], "nonstandard", pixels(RGB)),
    "tables in a stream of their own": (JPEG[: JPEG.index(b"\xff\xc0")] + b"\xff\xd9" + JPEG, "nonstandard", pixels(RGB)),
    "no end marker": (JPEG[:-2] + bytes(64), "nonstandard", pixels(RGB)),
    **{
        f"orientation {number}": (oriented("JPEG", number), "orientation", pixels(ImageOps.exif_transpose(turned)))
        for number in range(2, 9)
        for turned in [Image.open(io.BytesIO(oriented("PNG", number)))]
    },
}
REJECTED: dict[str, tuple[bytes, str, str]] = {
    **{
        f"{kind}, cut at {share} %": (content[: len(content) * share // 100], "truncated", "")
        for kind, content in {
            "jpeg": JPEG,
            "progressive jpeg": PROGRESSIVE,
            "gray jpeg": encoded(RGB.convert("L")),
            "progressive gray jpeg": encoded(RGB.convert("L"), progressive=True),
            "png": encoded(RGB, "PNG"),
            "gif": encoded(picture(RNG, 200, 150).quantize(64), "GIF"),
            "bmp": encoded(RGB, "BMP"),
            "webp": encoded(RGB, "WEBP"),
            "tiff": encoded(RGB, "TIFF"),
        }.items()
        for share in (10, 50, 99)
    },
    "jpeg without its last byte": (JPEG[:-1], "truncated", "truncated"),
    "segment that goes beyond its end": (JPEG[:-100] + b"\xff\xe7\xff\xff" + JPEG[-96:], "truncated", "ends within a header"),
    "bogus Huffman tables": (
        re.sub(rb"(\xff\xc4...)..", b"\\1\xff\xff", JPEG, flags=re.DOTALL),
        "damaged",
        "broken data stream",
    ),
    "something amid the compressed data": (JPEG[:-100] + b"\xff\xe7\0\4" + JPEG[-96:], "damaged", "amid its compressed data"),
    "two frames": (before_scan(JPEG, JPEG[JPEG.index(b"\xff\xc0") :][:19]), "damaged", "broken data stream"),
    "sampling of 2 to 3": (with_frame(with_frame(JPEG, 7, b"\x31"), 10, b"\x21"), "damaged", "broken data stream"),
    "no height": (with_frame(JPEG, 1, b"\0\0"), "damaged", "not identified"),
    "png with a wrong checksum": (encoded(RGB, "PNG").replace(b"IHDR\0", b"IHDR\1"), "damaged", "broken PNG"),
    "12 bits a channel": (with_frame(JPEG, 0, b"\x0c"), "unsupported", "cannot handle 12-bit"),
    "two channels": (with_frame(JPEG, 5, b"\2"), "unsupported", "cannot handle 2-layer"),
    "tiff of 32 bits": (encoded(Image.new("I", (9, 9)), "TIFF"), "unsupported", "32-bit or signed pixels: convert it"),
    "tiff of floating point": (encoded(Image.new("F", (9, 9)), "TIFF"), "unsupported", "floating-point pixels: convert it"),
    "tiff of 24 bits": (gray_tiff(9, 9, 24, bytes(243)), "unsupported", "unknown pixel mode"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "heic", "convert it to JPEG, with heif-convert"),
    "avif": (
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(99),
        "unsupported",
        "not one of JPEG, PNG, GIF, BMP, WEBP, TIFF",
    ),
    "ppm": (encoded(RGB, "PPM"), "unsupported", "not one of"),
    "text": (b"no image", "unsupported", "not one of"),
    "web page": (b"\n<!DOCTYPE HTML><html><body>404</body></html>", "unsupported", "a web page: the download"),
    "xhtml": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<html lang='en'></html>", "unsupported", "a web page: the download"),
    "decompression bomb": (encoded(Image.new("1", (20000, 10000)), "PNG"), "too_large", "20000 × 10000 pixels"),
    "jpeg that claims much": (with_frame(JPEG, 1, b"\xff\xff\xff\xff"), "too_large", "65535 × 65535 pixels"),
    "gif that claims much": (encoded(RGB, "GIF").replace(b"\x30\0\x24\0", b"\xff" * 4), "too_large", "65535 × 65535 pixels"),
    "gif whose frame claims much": (
        encoded(RGB, "GIF").replace(b",\0\0\0\0\x30\0\x24\0", b",\0\0\0\0\xff\xff\xff\xff"),
        "too_large",
        "decompression bomb",
    ),
    "side that no jpeg has": (encoded(Image.new("1", (MAX_SIDE + 1, 1)), "PNG"), "too_large", "at most 65500 a side"),
}


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
from shardtune.builder.images import to_stored_image
from shardtune.builder.pixels import ImageOptions
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
