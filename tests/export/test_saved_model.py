"""The SavedModel, as one uses it who has only TensorFlow."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from shardtune.export.functions import crop_of_file
from shardtune.export.predictors import whole_image
from shardtune.input.augment import central_crop_of_decoded
from tests.export.conftest import Exported
from tests.export.fresh import compute
from tests.images import image_files
from tests.images.handmade import png
from tests.launching import ENVIRONMENT
from tests.pictures import encoded, picture
from tests.records import records

LOAD = """
import glob
import tensorflow as tf
signatures = tf.saved_model.load("saved_model").signatures
"""
BY_FILES = f"""{LOAD}
files = tf.constant([open(path, "rb").read() for path in sorted(glob.glob(pattern))])
best = signatures["serving_default"](files=files)
result = {{"classes": best["classes"].numpy().astype(str).tolist(), "probabilities": best["probabilities"].numpy().tolist()}}
"""


def test_tensorflow_alone_gives_evals_probabilities_of_files(exported: Exported, tmp_path: Path) -> None:
    for number, file in enumerate(exported.files):
        (tmp_path / f"{number:03d}.jpg").write_bytes(file)
    best = compute(BY_FILES, exported.folder, pattern=str(tmp_path / "*.jpg"))
    order = np.argsort(-exported.probabilities, axis=1)
    assert best["classes"] == np.array(["blue", "green", "red"])[order].tolist()
    assert np.abs(best["probabilities"] - np.take_along_axis(exported.probabilities, order, axis=1)).max() <= 1e-5


@pytest.fixture(scope="module")
def signatures(exported: Exported) -> Any:
    return tf.saved_model.load(str(exported.folder / "saved_model")).signatures


def test_the_signatures_give_the_same(exported: Exported, signatures: Any) -> None:
    by_files = signatures["serving_default"](files=tf.constant(exported.files))
    by_examples = signatures["examples"](examples=tf.constant(records(exported.data, "validation")))
    assert np.array_equal(by_examples["probabilities"], by_files["probabilities"])
    assert np.array_equal(by_examples["classes"], by_files["classes"])
    for number, file in enumerate(exported.files[:3]):
        by_images = signatures["images"](images=tf.constant(whole_image(file)[np.newaxis]))
        assert np.allclose(by_images["probabilities"][0], by_files["probabilities"][number], rtol=0, atol=1e-5)


def test_saved_model_cli_lists_the_signatures(exported: Exported) -> None:
    done = subprocess.run(
        ["saved_model_cli", "show", "--dir", exported.folder / "saved_model", "--all"],
        env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    for name, argument, kind in (
        ("serving_default", "files", "DT_STRING"),
        ("images", "images", "DT_FLOAT"),
        ("examples", "examples", "DT_STRING"),
    ):
        part = done.stdout.partition(f"signature_def['{name}']:")[2].partition("signature_def")[0]
        assert f"inputs['{argument}'] tensor_info:\n        dtype: {kind}" in part
        assert "outputs['classes'] tensor_info:\n        dtype: DT_STRING" in part
        assert "outputs['probabilities'] tensor_info:\n        dtype: DT_FLOAT" in part
    part = done.stdout.partition("signature_def['crops']:")[2].partition("signature_def")[0]
    assert "inputs['crops'] tensor_info:\n        dtype: DT_FLOAT" in part
    assert "outputs['probabilities'] tensor_info:\n        dtype: DT_FLOAT" in part


PICTURE = image_files.RGB
FRAMES = [PICTURE.quantize(64), image_files.OTHER.quantize(64)]
MOVING: dict[str, Any] = {"save_all": True, "append_images": FRAMES[1:]}
CLEAR_RED = Image.new("RGBA", (48, 36), "#ff000000")
HIGH_BYTES = Image.fromarray((image_files.COLOURS_16 >> 8).astype(np.uint8))
TALL = picture(np.random.default_rng(8), 48, 640)
TALL_JPEG = encoded(TALL, quality=90)
# What a file is seen as: the pixels, by Pillow, or the error.
SEEN: dict[str, tuple[bytes, Image.Image | str]] = {
    "JPEG": (image_files.JPEG, PICTURE),
    "PNG": (encoded(PICTURE, "PNG"), PICTURE),
    "PNG of 16 bits": (png(48, 16, 2, image_files.COLOUR_ROWS), HIGH_BYTES),
    "PNG, transparent: the colour below": (encoded(CLEAR_RED, "PNG"), CLEAR_RED.convert("RGB")),
    "animated GIF: its first frame": (encoded(FRAMES[0], "GIF", **MOVING), FRAMES[0].convert("RGB")),
    "animated PNG: its first frame": (encoded(PICTURE, "PNG", **MOVING), PICTURE),
    "BMP": (encoded(PICTURE, "BMP"), PICTURE),
    "gray JPEG": (encoded(PICTURE.convert("L"), quality=90), PICTURE.convert("L").convert("RGB")),
    "EXIF-turned JPEG: as it is stored": (image_files.oriented("JPEG", 6), PICTURE),
    "CMYK JPEG": (image_files.CMYK, image_files.INKS.convert("RGB")),
    "JPEG, cut below the crop": (TALL_JPEG[: len(TALL_JPEG) * 98 // 100], TALL),
    "JPEG, cut": (TALL_JPEG[: len(TALL_JPEG) // 2], "Invalid JPEG data or crop window"),
    "JPEG, cut in its header": (image_files.JPEG[:100], "Invalid JPEG data"),
    "PNG, cut": (encoded(PICTURE, "PNG")[:1000], "Invalid PNG"),
    "empty": (b"", "Input is empty"),
    "web page": (b"<!doctype html><html>404</html>", "Unknown image file format"),
    "WebP": (encoded(PICTURE, "WEBP", lossless=True), PICTURE),
    "WebP, animated": (encoded(PICTURE, "WEBP", **MOVING), "WebP Animation must be 4 channel RGBA"),
    "TIFF": (encoded(PICTURE, "TIFF"), "Unknown image file format"),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_what_becomes_of_files_of_every_kind(exported: Exported, signatures: Any, name: str) -> None:
    file, expected = SEEN[name]
    if isinstance(expected, str):
        with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
            signatures["serving_default"](files=tf.constant([exported.files[0], file]))
        return
    found = signatures["serving_default"](files=tf.constant([file]))
    crop = crop_of_file(file, 75)
    around = np.pad((crop + 1) * 127.5, ((5, 5), (5, 5), (0, 0)))  # the central crop of 85 pixels is 75 pixels
    expected_found = signatures["images"](images=tf.constant(around[np.newaxis]))
    assert np.allclose(found["probabilities"], expected_found["probabilities"], rtol=0, atol=1e-3)
    assert np.abs(crop - central_crop_of_decoded(np.asarray(expected), 75)).mean() < 0.03
