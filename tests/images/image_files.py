"""Image files of every kind: kept as they are, re-encoded, and rejected."""

import io
import re

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, ImageOps

from shardtune.images.pixels import MAX_SIDE, ORIENTATION
from tests.images.handmade import ARITHMETIC_JPEG, before_scan, gray_tiff, png, with_frame, without_segment, ycck_jpeg
from tests.pictures import encoded, picture

Pixels = npt.NDArray[np.float64]

RNG = np.random.default_rng(5)
RGB = picture(RNG)  # 48 × 36
JPEG = encoded(RGB, quality=90)
PROGRESSIVE = encoded(RGB, quality=80, progressive=True)
BROKEN_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x05"  # five tags, and then it ends: Pillow warns


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
