"""Keras, ONNX and LiteRT files, as one uses them who has only what loads them; and the programs of the model card."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from shardtune.export import usage
from shardtune.export.predictors import whole_image
from shardtune.input.augment import central_crop, central_crop_of_decoded
from tests.export.conftest import Exported, needs_onnx
from tests.export.fresh import compute, run_python
from tests.pictures import encoded, picture

HAS_LITERT = find_spec("ai_edge_litert") is not None
needs_litert = pytest.mark.skipif(not HAS_LITERT, reason="needs ai-edge-litert: test_fresh_environments.py installs it")
KERAS = """
import keras, numpy as np
model = keras.models.load_model("model.keras")
result = np.asarray(model(np.array(crops, np.float32))).tolist()
"""
TFLITE = """
import tensorflow as tf, numpy as np
run = tf.lite.Interpreter(file).get_signature_runner()
result = run(crops=np.array(crops, np.float32))["probabilities"].tolist()
"""
ONNX = """
import onnxruntime, numpy as np
session = onnxruntime.InferenceSession("model.onnx")
result = [session.run(["probabilities"], {"images": np.array([image], np.float32)})[0][0].tolist() for image in images]
"""


def crops(exported: Exported) -> Any:
    return [((central_crop(file, 75) + 1) * 127.5).numpy().tolist() for file in exported.files]


def largest_difference(exported: Exported, found: Any) -> float:
    return float(np.abs(np.array(found) - exported.probabilities).max())


def test_keras_alone_loads_the_keras_file(exported: Exported) -> None:
    found = compute(KERAS, exported.folder, crops=crops(exported))
    assert largest_difference(exported, found) <= 1e-4


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "bound"), [("float32", 1e-4), ("float16", 0.05), ("int8", 0.5)])
def test_the_interpreter_alone_runs_the_litert_files(in_all_formats: Exported, kind: str, bound: float) -> None:
    found = compute(TFLITE, in_all_formats.folder, crops=crops(in_all_formats), file=f"model.{kind}.tflite")
    assert largest_difference(in_all_formats, found) <= bound


@pytest.mark.exhaustive
@needs_onnx
def test_onnxruntime_alone_runs_the_onnx_file(in_all_formats: Exported) -> None:
    images = [whole_image(file).tolist() for file in in_all_formats.files]
    found = compute(ONNX, in_all_formats.folder, forbidden=("tensorflow", "keras", "tf2onnx"), images=images)
    assert largest_difference(in_all_formats, found) <= 1e-4


PROGRAMS = [
    ("saved_model", "exported"),
    ("keras", "exported"),
    pytest.param("onnxruntime", "in_all_formats", marks=[needs_onnx, pytest.mark.exhaustive]),
    pytest.param("ai_edge_litert", "in_all_formats", marks=[needs_litert, pytest.mark.exhaustive]),
]


@pytest.mark.parametrize(("name", "fixture"), PROGRAMS)
def test_the_programs_of_the_model_card_run(request: pytest.FixtureRequest, tmp_path: Path, name: str, fixture: str) -> None:
    exported: Exported = request.getfixturevalue(fixture)
    program = program_of((exported.folder / "README.md").read_text(), name)
    assert len(program.splitlines()) <= 20
    for path in exported.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    # A PNG, which all decode alike, with a crop of 75 pixels, which nothing resizes: this network amplifies any difference.
    photo = encoded(picture(np.random.default_rng(4), 85, 85), "PNG")
    (tmp_path / "photo.jpg").write_bytes(photo)
    found = [line.split() for line in run_python(program, tmp_path).splitlines()]
    best = tf.saved_model.load(str(exported.folder / "saved_model")).signatures["serving_default"](files=tf.constant([photo]))
    assert [name for name, _ in found] == best["classes"][0].numpy().astype(str).tolist()
    assert [float(value) for _, value in found] == pytest.approx(best["probabilities"][0].numpy().tolist(), abs=1e-4)


@pytest.mark.parametrize("size", [(100, 60), (61, 333)])
@pytest.mark.parametrize("name", ["keras", "ai_edge_litert"])
def test_the_programs_of_the_model_card_crop_and_resize_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]
) -> None:
    begin = program_of(usage.render(["model.keras", "model.float32.tflite"], 75), name).partition("picture = ")
    photo = picture(np.random.default_rng(4), *size)
    photo.save(tmp_path / "photo.jpg", "PNG")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"np": np, "Image": Image, "ImageOps": ImageOps}
    exec(begin[1] + begin[2].partition("  # float32 [n, ")[0], names)
    expected = (central_crop_of_decoded(np.asarray(photo), 75) + 1) * 127.5
    assert np.abs(names["crops"][0] - expected).max() <= 1e-3


def program_of(card: str, name: str) -> str:
    """The program of a model card that imports or loads `name`."""
    [program] = [text for text in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if name in text]
    return str(program)
