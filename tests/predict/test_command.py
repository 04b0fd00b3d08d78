import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError
from shardtune.images.pixels import ImageOptions
from shardtune.model import checkpoint_file
from shardtune.predict.command import _find_trained
from shardtune.predict.config import PredictConfig
from shardtune.runtime.world import World

LABELS = ["blue", "green", "red"]


def run_of(directory: Path, data_dir: Path, *steps: int) -> PredictConfig:
    """Predictions by a run with checkpoints that hold next to nothing."""
    directory.mkdir()
    run_config = {"config": {"image_size": 75, "data_dir": str(data_dir)}, "workers": 1, "labels": LABELS}
    (directory / checkpoint_file.RUN_CONFIG_NAME).write_text(json.dumps(run_config))
    for step in steps:
        checkpoint_file.save(directory, step, {"x": np.zeros(1)})
    return PredictConfig(directory, ("a.jpg",))


def test_the_network_is_that_of_the_run(small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_of(tmp_path / "run", small_data, 3, 7)
    for each in (config, replace(config, checkpoint_dir=tmp_path / "run" / "checkpoints")):
        trained = _find_trained(each, World())
        assert trained.checkpoint == checkpoint_file.checkpoint_path(tmp_path / "run", 7)
        assert (trained.image_size, trained.class_names) == (75, ["background", *LABELS])
        assert trained.image_options == ImageOptions()
    assert _find_trained(replace(config, checkpoint="3"), World()).checkpoint.name == "step-00000003.safetensors"
    said, chosen = capsys.readouterr()
    assert said == ""
    assert chosen.splitlines()[-1] == "Taking the checkpoint of step 3; the last is of step 7."


def test_classes_have_the_words_of_the_data_set_and_images_are_stored_as_there(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    manifest = Manifest.load(small_data)
    provenance = {**manifest.provenance, "check": "header", "exif": "keep", "max_side": 30, "quality": 80}
    replace(manifest, words=["the sky", "grass", "blood"], provenance=provenance).save(tmp_path / "data")
    trained = _find_trained(run_of(tmp_path / "run", tmp_path / "data", 1), World())
    assert trained.class_names == ["background", "blue the sky", "green grass", "red blood"]
    assert trained.image_options == ImageOptions("full", "keep", 30, 80)


@pytest.mark.parametrize("labels", [None, ["other", "names", "there"]])
def test_without_the_data_set_of_the_run_classes_have_their_names(
    small_data: Path, tmp_path: Path, labels: list[str] | None
) -> None:
    (tmp_path / "data").mkdir()
    if labels:
        replace(Manifest.load(small_data), labels=labels, words=["a", "b", "c"]).save(tmp_path / "data")
    trained = _find_trained(run_of(tmp_path / "run", tmp_path / "data", 1), World())
    assert trained.class_names == ["background", *LABELS]


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=rf"^The run in {tmp_path}/run has no checkpoint yet\. Run shardtune train first\.$"
    ):
        _find_trained(run_of(tmp_path / "run", tmp_path), World())
