"""A small run and all that can be exported of it."""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shardtune.dataset.index import open_data_set
from shardtune.input.pipeline import InputOptions, evaluation_batches
from shardtune.input.reader import RecordReader
from shardtune.model import checkpoint_file, inception, pretrained
from shardtune.runtime.world import World
from tests.launching import shardtune
from tests.records import fields, records

HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxruntime", "tf2onnx"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="needs onnx, onnxruntime and tf2onnx, as launch/setup.sh installs them")
FORMATS = ["savedmodel", "keras"]
OTHER_FORMATS = ["tflite", *(["onnx"] if HAS_ONNX else [])]  # they take a minute and more
TRAIN = [
    *("--image_size", 75, "--batch_size", 16, "--max_steps", 6, "--optimizer", "adam", "--validate_epochs", 0),
    *("--initial_learning_rate", 0.001, "--batch_norm_decay", 0.8),
]


@dataclass(frozen=True)
class Exported:
    """A run, its export, and what the checkpoint computes of the validation images, as `eval` computes it.

    Attributes:
        files: the JPEGs.
        logits: float32 [n, 1 + classes].
    """

    run: Path
    data: Path
    folder: Path
    output: str
    files: list[bytes]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Those of the classes other than the background: float32 [n, classes]."""
        return np.asarray(tf.nn.softmax(self.logits[:, 1:]))

    def model_json(self) -> Any:
        return json.loads((self.folder / "model.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export") / "flowers <b>"
    shardtune("train", "--data_dir", small_data, "--train_dir", directory, *TRAIN)
    return directory


@pytest.fixture(scope="session")
def exported(run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_run(run, small_data, tmp_path_factory.mktemp("exported") / "deep" / "model", FORMATS)


@pytest.fixture(scope="session")
def in_all_formats(run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_run(run, small_data, tmp_path_factory.mktemp("in_all_formats") / "model", [*FORMATS, *OTHER_FORMATS])


def export_run(run: Path, data: Path, folder: Path, formats: list[str]) -> Exported:
    output = shardtune("export", "--checkpoint_dir", run, "--output_directory", folder, "--format", *formats, timeout=800)
    manifest, index = open_data_set(data, World())
    network = inception.build(manifest.num_classes, 75)
    pretrained.restore(network, checkpoint_file.latest(run)[1], averaged=True)  # type: ignore[index]
    reader = RecordReader(data, manifest, "validation", index["validation"])
    [(_, crops, labels)] = evaluation_batches(reader, World(), InputOptions(75, 1), batch_size=50, examples=len(reader))
    files = [fields(record)["image/encoded"] for record in records(data, "validation")]
    compute = tf.function(
        lambda images: network(images, training=False)["logits"]
    )  # as in Evaluator: eager has other last bits
    return Exported(run, data, folder, output, files, labels.numpy(), compute(crops).numpy())
