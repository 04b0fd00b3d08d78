import json
import os
from pathlib import Path

import numpy as np
import pytest

from shardtune.errors import DataError
from shardtune.evaluate import result
from shardtune.evaluate.predictions import Predictions, write_predictions
from shardtune.evaluate.result import FIELDS, measure, read_result, result_folders, write_result
from shardtune.runtime.files import sha256_file

NAMES = ["background", "a", "b"]


def predictions_of(seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(20, 3)).astype(np.float32), generator.integers(1, 3, 20)
    return Predictions.from_logits(np.arange(20), [f"{n}.jpg" for n in range(20)], labels, logits)


def write(directory: Path) -> Predictions:
    predictions = predictions_of()
    digest = sha256_file(write_predictions(directory, predictions, NAMES))
    measured = {**dict.fromkeys(FIELDS), **measure(predictions, NAMES), "provenance": {"predictions_sha256": digest}}
    write_result(directory, measured)
    return predictions


def test_what_is_written_is_read(tmp_path: Path) -> None:
    predictions = write(tmp_path)
    found, read = read_result(tmp_path)
    assert np.array_equal(read.probabilities, predictions.probabilities)
    assert {**found, **json.loads(json.dumps(measure(predictions, NAMES)))} == found
    assert found["loss"] == pytest.approx(predictions.losses.mean(), rel=1e-14)
    assert [each["name"] for each in found["classes"]] == NAMES
    matrix = np.array(found["confusion_matrix"])
    assert matrix.trace() == found["top_1"] == predictions.counts.top_1
    assert matrix.sum(1).tolist() == [each["support"] for each in found["classes"]]
    # A row on one line: 1,000 classes are 1,000 lines.
    assert f"    {json.dumps(matrix[1].tolist())},\n" in (tmp_path / "eval.json").read_text()


def test_a_result_of_an_older_shardtune_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    found = json.loads((tmp_path / "eval.json").read_text())
    del found["image_size"]
    (tmp_path / "eval.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match=r"eval\.json has no image_size, as an older shardtune leaves it\. Run"):
        read_result(tmp_path)


def test_the_newest_result_comes_first(tmp_path: Path) -> None:
    folders = [tmp_path / "eval", tmp_path, tmp_path / "eval" / "test", tmp_path / "test"]
    assert result_folders(tmp_path)[:4] == folders
    for newest in folders:
        for folder in folders:
            folder.mkdir(exist_ok=True)
            (folder / "eval.json").touch()
            os.utime(folder / "eval.json", (1, 1 + (folder == newest)))
        assert result_folders(tmp_path)[0] == newest


def test_a_matrix_of_too_many_classes_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "MAX_CLASSES_IN_MATRIX", 2)
    write(tmp_path)
    assert read_result(tmp_path)[0]["confusion_matrix"] is None


def test_predictions_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write_predictions(tmp_path, predictions_of(seed=1), NAMES)
    with pytest.raises(DataError, match=r"predictions\.csv is not of the evaluation in eval\.json\. Run shardtune eval again"):
        read_result(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"provenance": {}}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path)
    (tmp_path / "eval.json").write_text(content)
    with pytest.raises(DataError, match=r"eval\.json cannot be read \(.*\)\. Run shardtune eval again\.$"):
        read_result(tmp_path)
    (tmp_path / "eval.json").unlink()
    with pytest.raises(DataError, match=r"eval\.json does not exist\. Run shardtune eval first\.$"):
        read_result(tmp_path)
