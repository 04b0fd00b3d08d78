"""Of an evaluation the export shows the figures, if they are those of its weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.evaluate.predictions import Predictions, write_predictions
from shardtune.evaluate.result import FIELDS, result_folder
from shardtune.export import card
from shardtune.export.command import export
from shardtune.export.config import ExportConfig
from shardtune.export.facts import Comparison
from shardtune.export.trained import load, read_evaluation
from shardtune.model.checkpoint_file import checkpoint_path
from shardtune.runtime.files import sha256_file
from shardtune.runtime.world import World
from tests.export.conftest import Exported

MEASURED = {"averaged": True, "image_size": 75}
DIGESTS = {"checkpoint_sha256": "c", "config_sha256": "f", "data_sha256": "d"}
EVALUATION = {"examples": 400, "top_1": 300, "subset": "validation", **MEASURED, "provenance": DIGESTS}
OTHERS: list[dict[str, Any]] = [
    *({"averaged": False}, {"subset": "train"}, {"image_size": 150}, {"provenance": {}}),
    *({"provenance": {**DIGESTS, name: "other"}} for name in ("checkpoint_sha256", "data_sha256")),
]


def write_evaluation(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Write and return a result as `shardtune eval` leaves it, but of one prediction."""
    folder.mkdir(parents=True, exist_ok=True)
    one = Predictions.from_logits(np.array([0]), ["a.jpg"], np.array([1]), np.zeros((1, 3), np.float32))
    digest = sha256_file(write_predictions(folder, one, ["a", "b", "c"]))
    result = {**dict.fromkeys(FIELDS), **result, "provenance": {**result["provenance"], "predictions_sha256": digest}}
    (folder / "eval.json").write_text(json.dumps(result))
    return result


def test_the_result_of_eval_is_shown(exported: Exported, tmp_path: Path) -> None:
    run = shutil.copytree(exported.run, tmp_path / "run")
    provenance = {
        "checkpoint_sha256": sha256_file(checkpoint_path(run, 6)),
        "config_sha256": sha256_file(run / "config.json"),
        "data_sha256": json.loads((exported.data / "dataset.json").read_text())["manifest_sha256"],
        "data_dir": "/home/alice/photos",
    }
    write_evaluation(run / "eval", {**EVALUATION, "provenance": provenance, "confusion_matrix": [[1]]})
    (run / "checkpoints" / "best.json").write_text('{"step": 6}')
    export(ExportConfig(run, tmp_path / "out", ("keras",)), World())
    described = (tmp_path / "out" / "model.json").read_text()
    assert json.loads(described)["precision_at_1"] == 0.75
    assert not [text for text in ("alice", "confusion_matrix") if text in described]
    text = (tmp_path / "out" / "README.md").read_text()
    assert "**0.7500** on 400 images, 95 % interval 0.7053 to 0.7899" in text
    assert "The checkpoint was chosen by its precision on the validation split, so a figure on that split flatters." in text


def test_the_result_of_the_test_split_is_preferred(exported: Exported, tmp_path: Path) -> None:
    run = shutil.copytree(exported.run, tmp_path / "run")
    provenance = {
        "checkpoint_sha256": sha256_file(checkpoint_path(run, 6)),
        "data_sha256": json.loads((exported.data / "dataset.json").read_text())["manifest_sha256"],
    }
    (run / "checkpoints" / "best.json").write_text('{"step": 6}')
    for top_1, split in enumerate(("train", "validation", "test"), start=100):
        folder = result_folder(tmp_path / "results", split)
        write_evaluation(folder, {**EVALUATION, "subset": split, "top_1": top_1, "provenance": provenance})
    trained = load(ExportConfig(run, tmp_path / "out", eval_dir=tmp_path / "results"), World())
    text = card.render(trained, {"saved_model": Comparison(21, 0.0, 1e-5, 0.5, 0.5)})
    assert "precision@1 = **0.2550** on 400 images" in text
    assert "`shardtune eval` counted on the test split. The background class competes there." in text
    assert "flatters" not in text


@pytest.mark.parametrize("other", OTHERS)
def test_a_result_of_other_weights_is_not_shown(tmp_path: Path, other: dict[str, Any]) -> None:
    write_evaluation(tmp_path / "a", {**EVALUATION, **other})
    assert read_evaluation([tmp_path / "nowhere", tmp_path / "a"], MEASURED, DIGESTS) is None
    expected = write_evaluation(tmp_path, EVALUATION)
    assert read_evaluation([tmp_path / "a", tmp_path], MEASURED, DIGESTS) == expected
