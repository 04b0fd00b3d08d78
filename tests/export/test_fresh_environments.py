"""Environments that have only what runs one format: what others have to whom an export is given. They download a lot."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.export.predictors import whole_image
from tests.export.conftest import Exported, needs_onnx
from tests.export.fresh import BARE, compute
from tests.export.test_formats import ONNX, crops
from tests.export.test_saved_model import BY_FILES

pytestmark = pytest.mark.exhaustive
LITERT = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter
inputs = np.array(crops, np.float32)
kinds = ("float32", "float16", "int8")
result = [Interpreter(f"model.{kind}.tflite").get_signature_runner()(crops=inputs)["probabilities"].tolist() for kind in kinds]
"""


def environment(directory: Path, *packages: str) -> str:
    """The Python of a new environment that has these packages and what they need."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True, env=BARE, timeout=120)
    python = str(directory / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run(install, check=True, env=BARE, timeout=800)
    return python


def differences(exported: Exported, found: Any) -> Any:
    return np.abs(np.array(found) - exported.probabilities).max()


def test_one_with_only_tensorflow_runs_the_saved_model(in_all_formats: Exported, tmp_path: Path) -> None:
    for number, file in enumerate(in_all_formats.files):
        (tmp_path / f"{number:03d}.jpg").write_bytes(file)
    python = environment(tmp_path / "venv", f"tensorflow-cpu=={version('tensorflow-cpu')}")
    best = compute(BY_FILES, in_all_formats.folder, python=python, pattern=str(tmp_path / "*.jpg"))
    assert np.abs(np.array(best["probabilities"]) + np.sort(-in_all_formats.probabilities, axis=1)).max() <= 1e-5


@needs_onnx
def test_one_with_only_onnxruntime_runs_the_onnx_file(in_all_formats: Exported, tmp_path: Path) -> None:
    python = environment(tmp_path, f"onnxruntime=={version('onnxruntime')}")
    images = [whole_image(file).tolist() for file in in_all_formats.files]
    assert differences(in_all_formats, compute(ONNX, in_all_formats.folder, python=python, images=images)) <= 1e-4


def test_one_with_only_the_litert_interpreter_runs_the_litert_files(in_all_formats: Exported, tmp_path: Path) -> None:
    python = environment(tmp_path, "ai-edge-litert")
    results = compute(LITERT, in_all_formats.folder, python=python, crops=crops(in_all_formats))
    for found, bound in zip(results, (1e-4, 0.05, 0.5), strict=True):
        assert differences(in_all_formats, found) <= bound
