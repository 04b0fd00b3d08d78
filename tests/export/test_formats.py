"""Keras, ONNX and LiteRT files, as one uses them who has only what loads them; and the programs of the model card."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.export.predictors import whole_image
from shardtune.input.augment import central_crop
from tests.export.conftest import Exported, needs_onnx
from tests.export.fresh import compute, run_python

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


@pytest.mark.parametrize(("kind", "bound"), [("float32", 1e-4), ("float16", 0.05), ("int8", 0.5)])
def test_the_interpreter_alone_runs_the_litert_files(exported: Exported, kind: str, bound: float) -> None:
    found = compute(TFLITE, exported.folder, crops=crops(exported), file=f"model.{kind}.tflite")
    assert largest_difference(exported, found) <= bound


@needs_onnx
def test_onnxruntime_alone_runs_the_onnx_file(exported: Exported) -> None:
    images = [whole_image(file).tolist() for file in exported.files]
    found = compute(ONNX, exported.folder, forbidden=("tensorflow", "keras", "tf2onnx"), images=images)
    assert largest_difference(exported, found) <= 1e-4


PROGRAMS = [
    "saved_model",
    "keras",
    pytest.param("onnxruntime", marks=needs_onnx),
    pytest.param("ai_edge_litert", marks=needs_litert),
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_of_the_model_card_run(exported: Exported, tmp_path: Path, name: str) -> None:
    card = (exported.folder / "README.md").read_text()
    [program] = [text for text in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if name in text]
    assert len(program.splitlines()) <= 20
    for path in exported.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "photo.jpg").write_bytes(exported.files[0])
    found = {line.split()[0]: float(line.split()[1]) for line in run_python(program, tmp_path).splitlines()}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    expected = dict(zip(("blue", "green", "red"), exported.probabilities[0].tolist(), strict=True))
    # Pillow resizes to whole numbers: up to 0.5 of 255 beside TensorFlow's.
    assert found == pytest.approx(expected, abs=0.02)
