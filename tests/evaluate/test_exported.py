"""Exports are found, described and refused. What they compute is tested with real ones in tests/export."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.checkpoint_source import Checkpoint, find_checkpoint, find_data_directory
from shardtune.evaluate.exported import ExportedModel, border_of_whole_image, find_exported
from shardtune.evaluate.network import LEAST_PROBABILITY, ExportedNetwork
from shardtune.input.augment import central_crop_of_decoded, to_network_range
from tests.input.shards import write

DESCRIPTION: dict[str, Any] = {
    "version": 1,
    "classes": ["one", "two", "three"],
    "labels": ["n1", "n2", "n3"],
    "models": {"model.keras": {}},
    "image_size": 75,
    "conversion": {"exif": "apply"},
    "provenance": {"run": "flowers", "step": 7, "averaged": True},
}


def export_of(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({**DESCRIPTION, **changes}))
    for name in {**DESCRIPTION, **changes}["models"]:
        (folder / name).write_bytes(b"no model")
    return folder


def test_the_folder_of_one_model_stands_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_of(tmp_path / "export")
    for path in (folder, folder / "model.keras"):
        found = find_checkpoint(path, None, ema=True)
        assert found
        assert (found.path, found.step, found.image_size, found.averaged) == (folder / "model.keras", 7, 75, True)
        assert (found.num_classes, found.labels, found.directory) == (4, ["n1", "n2", "n3"], folder)
        assert found.eval_dir == folder / "eval" / "model.keras"
        assert found.notes == ("It was exported from step 7 of the run flowers.",)
    monkeypatch.chdir(folder)
    assert find_exported(Path("model.keras")) == find_exported(folder)
    assert find_exported(Path()) == ExportedModel(Path("model.keras"), DESCRIPTION)


def test_of_several_models_one_is_chosen(tmp_path: Path) -> None:
    folder = export_of(tmp_path / "export", models={"model.onnx": {}, "saved_model": {}})
    with pytest.raises(CheckpointError, match=r"has 2 models\. Give the path of one: model\.onnx, saved_model\.$"):
        find_exported(folder)
    assert find_exported(folder / "saved_model") == ExportedModel(
        folder / "saved_model", {**DESCRIPTION, "models": {"model.onnx": {}, "saved_model": {}}}
    )


def test_what_is_no_export_is_none(tmp_path: Path) -> None:
    folder = export_of(tmp_path / "export")
    for number, text in enumerate(("[1]", "null", '{"class_name": "Model", "keras_version": "2.4.0"}')):  # as old Keras wrote
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "model.json").write_text(text)
        assert find_exported(tmp_path / str(number)) is None
        assert find_exported(tmp_path / str(number) / "model.ckpt-5") is None
    assert [find_exported(path) for path in (tmp_path, folder / "labels.txt", tmp_path / "nowhere", Path())] == [None] * 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (json.dumps({**DESCRIPTION, "version": 2}), "has version 2, this shardtune reads version 1"),
        (json.dumps({**DESCRIPTION, "classes": "one"}), "describes no export: a field is missing or has another type"),
        (
            json.dumps({name: DESCRIPTION[name] for name in ("version", "models", "provenance")}),
            "describes no export: a field is",
        ),
    ],
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}/model\.json {reason}.*Export the run again\.$"):
        find_exported(tmp_path)


def test_what_an_export_cannot_do_is_refused(tmp_path: Path) -> None:
    folder = export_of(tmp_path / "export")
    with pytest.raises(DataError, match=r"^The export .* does not name the data set of its training\. Name it with --data_dir"):
        find_data_directory(folder)
    with pytest.raises(CheckpointError, match=r"takes images of 75 pixels, not of 299\. Leave out --image_size\.$"):
        find_checkpoint(folder, None, ema=True, image_size=299)
    with pytest.raises(CheckpointError, match=r"has the averaged weights and no others\. Leave out --no_ema"):
        find_checkpoint(folder, None, ema=False)
    with pytest.raises(CheckpointError, match=r"^--checkpoint best chooses a checkpoint of a run, but .* is an export\."):
        find_checkpoint(folder, "best", ema=True)
    data = write(tmp_path / "data", [1, 1], "validation")
    with pytest.raises(CheckpointError, match=r"was trained on the classes \['n1', 'n2', 'n3'\], but .* has \['n1', 'n2'\]\."):
        find_checkpoint(folder, None, ema=True).check_classes(data, Manifest.load(data))  # type: ignore[union-attr]
    for name in ("model.keras", "model.onnx", "model.int8.tflite", "saved_model"):
        exported = ExportedModel(folder / name, DESCRIPTION)
        if name == "saved_model":
            (folder / name).mkdir()
        with pytest.raises(CheckpointError, match=rf"^{folder}/{name} cannot be loaded \(.+\)\. Export it again\.$"):
            exported.load(1)


@given(size=st.integers(75, 600))
def test_a_crop_with_a_border_is_an_image_whose_central_crop_it_is(size: int) -> None:
    side = size + 2 * border_of_whole_image(size)
    assert side - 2 * int(0.0625 * side) == size


def test_that_central_crop_has_the_same_bits() -> None:
    crop = np.random.default_rng(0).uniform(0, 255, (107, 107, 3)).astype(np.float32)
    border = border_of_whole_image(107)
    image = np.pad(crop, [(border, border), (border, border), (0, 0)])
    assert np.array_equal(central_crop_of_decoded(image, 107), to_network_range(crop))


class Stub(ExportedModel):
    """An export whose probabilities are the red, green and blue of a corner."""

    def load(self, num_threads: int) -> Any:
        def predict(crops: Any) -> Any:
            assert crops.shape == (4, 75, 75, 3)
            return crops[:, 0, 0] / 255

        return predict


def test_logits_are_logarithms_of_probabilities(tmp_path: Path) -> None:
    images = np.full((2, 75, 75, 3), -1.0, np.float32)
    images[0, 0, 0] = [0.2, 1.0, -1.0]
    network = ExportedNetwork(4, batch_size=4, num_threads=1)
    network.restore(Checkpoint(tmp_path, tmp_path, 7, 75, True, 4, exported=Stub(tmp_path, DESCRIPTION)))
    found = network.logits(images)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx([-1000, np.log(0.6), 0.0, np.log(LEAST_PROBABILITY)], abs=1e-6)
    assert network.logits(images[:0]).shape == (0, 4)
    with_background = {**DESCRIPTION, "classes": ["background", "one", "two"], "labels": ["n1", "n2"]}
    network = ExportedNetwork(3, batch_size=4, num_threads=1)
    network.restore(Checkpoint(tmp_path, tmp_path, 7, 75, True, 3, exported=Stub(tmp_path, with_background)))
    assert network.logits(images)[0] == pytest.approx([np.log(0.6), 0.0, np.log(LEAST_PROBABILITY)], abs=1e-6)
    images[0, 0, 0, 0] = np.nan
    assert np.isnan(network.logits(images)[0, 0])


def test_another_number_of_outputs_than_its_description_says_is_refused(tmp_path: Path) -> None:
    network = ExportedNetwork(6, batch_size=4, num_threads=1)
    description = {**DESCRIPTION, "classes": list("abcde"), "labels": list("abcde")}
    network.restore(Checkpoint(tmp_path, tmp_path, 7, 75, True, 6, exported=Stub(tmp_path, description)))
    with pytest.raises(CheckpointError, match=r"^The exported model gives out 3 classes, but its model\.json says 5\."):
        network.logits(np.zeros((1, 75, 75, 3), np.float32))
