"""Exports are evaluated and predict as the checkpoint does that they were made of."""

import json
from pathlib import Path

import numpy as np
import pytest

from shardtune.evaluate.result import FIELDS, read_result
from shardtune.export.formats import BOUNDS
from tests.export.conftest import Exported, needs_onnx
from tests.launching import shardtune

MODELS = [
    ("exported", "saved_model"),
    ("exported", "model.keras"),
    pytest.param("in_all_formats", "model.onnx", marks=[needs_onnx, pytest.mark.exhaustive]),
    *(
        pytest.param("in_all_formats", f"model.{kind}.tflite", marks=[pytest.mark.exhaustive])
        for kind in ("float32", "float16", "int8")
    ),
]


@pytest.mark.parametrize(("fixture", "name"), MODELS)
def test_what_eval_and_predict_say_is_what_the_checkpoint_computes(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, fixture: str
) -> None:
    exported: Exported = request.getfixturevalue(fixture)
    model, [bound] = exported.folder / name, [found[name] for found in BOUNDS.values() if name in found]
    bound = max(bound, 1e-4)  # an export takes crops in 0 to 255, so that each pixel is rounded once more
    batches = ("--model", model, "--batch_size", 4)
    shardtune("eval", *batches, "--data_dir", exported.data, "--eval_dir", tmp_path)
    result, predictions = read_result(tmp_path)
    assert (result["step"], result["averaged"], result["image_size"], result["examples"]) == (6, True, 75, 21)
    assert result.keys() == FIELDS
    assert np.array_equal(predictions.labels, exported.labels)
    given_out = predictions.top > 0  # the background class is not
    assert given_out.sum(axis=1).tolist() == [3] * 21
    expected = np.take_along_axis(np.pad(exported.probabilities, [(0, 0), (1, 0)]), predictions.top, axis=1)
    assert np.abs(predictions.probabilities - expected).max() <= bound
    own = np.take_along_axis(exported.probabilities, exported.labels[:, np.newaxis] - 1, axis=1)[:, 0]
    assert np.abs(np.exp(-predictions.losses) - own).max() <= bound
    output = tmp_path / "predictions.jsonl"
    shardtune("predict", exported.data, *batches, "--format", "jsonl", "--output", output)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [[each["label"] for each in line["predictions"]] for line in lines] == predictions.top[:, :3].tolist()
    found = [[each["probability"] for each in line["predictions"]] for line in lines]
    assert np.array_equal(found, predictions.probabilities[:, :3])
    assert {each["class"] for line in lines for each in line["predictions"]} == {"blue", "green", "red"}
    if name == "saved_model":
        again = tmp_path / "again.jsonl"
        shardtune("predict", exported.data, *batches, "--format", "jsonl", "--output", again, launcher="mpirun", ranks=2)
        assert again.read_bytes() == output.read_bytes()
