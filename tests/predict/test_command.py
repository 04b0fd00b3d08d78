import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError, UsageError
from shardtune.images.pixels import ImageOptions
from shardtune.model import checkpoint_file
from shardtune.model.inception import LOGITS_BIASES, named_variables
from shardtune.predict.command import choose_batch_size, predict
from shardtune.predict.config import PredictConfig
from shardtune.predict.trained import find_trained
from shardtune.runtime.world import World
from tests.faults.mounts import Fault, Mounter, Options
from tests.model.checkpoints import V2, save
from tests.train.networks import small

LABELS = ["blue", "green", "red"]


def run_of(directory: Path, data_dir: Path, *steps: int, data_sha256: str = "") -> PredictConfig:
    """Predictions by a run with checkpoints that hold next to nothing."""
    directory.mkdir()
    run_config = {
        "config": {"image_size": 75, "data_dir": str(data_dir)},
        "workers": 1,
        "labels": LABELS,
        "data_sha256": data_sha256 or Manifest.load(data_dir).sha256,
    }
    (directory / checkpoint_file.RUN_CONFIG_NAME).write_text(json.dumps(run_config))
    for step in steps:
        checkpoint_file.save(directory, step, {"x": np.zeros(1)})
    return PredictConfig(directory, ("a.jpg",))


def test_the_network_is_that_of_the_run(small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_of(tmp_path / "run", small_data, 3, 7)
    for each in (config, replace(config, checkpoint_dir=tmp_path / "run" / "checkpoints")):
        trained = find_trained(each, World())
        assert trained.checkpoint.path == checkpoint_file.checkpoint_path(tmp_path / "run", 7)
        assert (trained.checkpoint.image_size, trained.class_names) == (75, ["background", *LABELS])
        assert trained.image_options == ImageOptions()
    assert find_trained(replace(config, checkpoint="3"), World()).checkpoint.path.name == "step-00000003.safetensors"
    said, chosen = capsys.readouterr()
    assert said == ""
    assert chosen.splitlines()[-1] == "Taking the checkpoint of step 3; the last is of step 7."


def test_classes_have_the_words_of_the_data_set_and_images_are_stored_as_there(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    manifest = Manifest.load(small_data)
    provenance = {**manifest.provenance, "check": "header", "exif": "keep", "max_side": 30, "quality": 80}
    replace(manifest, words=["the sky", "grass", "blood"], provenance=provenance).save(tmp_path / "data")
    config = run_of(tmp_path / "run", tmp_path / "data", 1)
    (tmp_path / "data").rename(tmp_path / "moved")
    assert find_trained(config, World()).image_options == ImageOptions()
    trained = find_trained(replace(config, data_dir=tmp_path / "moved"), World())
    assert trained.class_names == ["background", "blue the sky", "green grass", "red blood"]
    assert trained.image_options == ImageOptions("full", "keep", 30, 80)


@pytest.mark.parametrize("is_there", [False, True])
def test_another_data_set_than_the_run_s_is_not_used_and_that_is_said(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_there: bool
) -> None:
    data, manifest = tmp_path / "data", Manifest.load(small_data)
    data.mkdir()
    if is_there:
        options = {**manifest.provenance, "max_side": 30}
        replace(manifest, words=["a", "b", "c"], provenance=options).save(data)
    trained = find_trained(run_of(tmp_path / "run", data, 1, data_sha256=manifest.sha256), World())
    assert trained.class_names == ["background", *LABELS]
    assert trained.image_options == ImageOptions()
    assert f"{data} is not the data set of the run as shardtune build left it: images are prepared" in capsys.readouterr().err


def test_a_data_set_that_cannot_be_read_for_once_is_not_taken_for_another(
    small_data: Path, hostile_directory: Mounter, tmp_path: Path
) -> None:
    manifest, fault = Manifest.load(small_data), Fault("read", "/dataset.json", 1, "EIO")
    (tmp_path / "data").mkdir()
    replace(manifest, words=["the sky", "grass", "blood"]).save(tmp_path / "data")
    config = replace(
        run_of(tmp_path / "run", tmp_path / "data", 1), data_dir=hostile_directory(tmp_path / "data", Options(fail=fault))
    )
    with pytest.raises(OSError, match=r"Input/output error: .*/dataset\.json"):
        find_trained(config, World())
    assert find_trained(config, World()).class_names == ["background", "blue the sky", "green grass", "red blood"]


def test_a_few_files_are_a_batch_of_their_own(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    for file in files:
        Path(file).touch()
    config = PredictConfig(tmp_path, tuple(files))
    assert choose_batch_size(config) == 2
    assert choose_batch_size(replace(config, batch_size=7)) == 7
    assert choose_batch_size(replace(config, paths=tuple(files * 30))) == 50
    for several in (str(tmp_path), "-", str(tmp_path / "*.jpg"), str(tmp_path / "missing.jpg")):
        assert choose_batch_size(replace(config, paths=(files[0], several))) == 50


def test_the_network_computes_batches_of_that_size(small_images: Path, small_data: Path, tmp_path: Path) -> None:
    sizes = []

    class Watched:
        def __init__(self, classes: int, side: int) -> None:
            self._model = small(classes, side)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._model, name)

        def __call__(self, images: Any, **options: Any) -> Any:
            sizes.append(images.shape[0])
            return self._model(images, **options)

    files = sorted(map(str, (small_images / "validation").rglob("*.jpg")))[:3]
    config = replace(run_of(tmp_path / "run", small_data), paths=tuple(files), output=tmp_path / "out", ema=False)
    values = {name: variable.numpy() for name, variable in named_variables(small(4, 75)).items()}
    checkpoint_file.save(tmp_path / "run", 1, values)
    predict(config, World(), Watched)
    assert sizes == [3]


def test_only_a_regular_file_is_written(small_data: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    config = run_of(tmp_path / "run", small_data, 1)
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UsageError, match=rf"^--output {path} is no regular file\. Leave it out: predictions then go to"):
            find_trained(replace(config, output=path), World())


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=rf"^The run in {tmp_path}/run has no checkpoint yet\. Run shardtune train first\.$"
    ):
        find_trained(run_of(tmp_path / "run", tmp_path, data_sha256="0"), World())


def export_of(folder: Path, **changes: object) -> PredictConfig:
    description = {
        **{"version": 1, "classes": ["sky", "grass"], "labels": ["n1", "n2"], "models": {"model.keras": {}}, "image_size": 75},
        **{"conversion": {"max_side": 90}, "provenance": {"run": "flowers", "step": 7, "averaged": True}},
        **changes,
    }
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(description))
    return PredictConfig(folder, ("a.jpg",))


def test_an_export_says_itself_what_its_classes_and_images_are(tmp_path: Path) -> None:
    trained = find_trained(export_of(tmp_path / "a"), World())
    assert (trained.class_names, trained.num_outputs) == (["background", "sky", "grass"], 2)
    assert trained.image_options == ImageOptions(max_side=90)
    trained = find_trained(export_of(tmp_path / "b", classes=["background", "sky", "grass"]), World())
    assert (trained.class_names, trained.num_outputs) == (["background", "sky", "grass"], 3)


def test_a_checkpoint_of_tensorflow_has_the_classes_of_a_data_set_that_is_named(small_data: Path, tmp_path: Path) -> None:
    prefix = save(tmp_path / "model.ckpt-5", {LOGITS_BIASES: np.zeros(4, np.float32)}, V2)
    config = PredictConfig(tmp_path, ("a.jpg",))
    with pytest.raises(DataError, match=r"do not name their classes\. Name their data set with --data_dir\.$"):
        find_trained(config, World())
    trained = find_trained(replace(config, data_dir=small_data), World())
    assert (trained.checkpoint.path, trained.checkpoint.step) == (prefix, 5)
    assert (trained.class_names, trained.num_outputs) == (["background", *LABELS], 4)
    save(tmp_path / "model.ckpt-6", {LOGITS_BIASES: np.zeros(6, np.float32)}, V2)
    with pytest.raises(CheckpointError, match=r"model\.ckpt-6 has 6 outputs, but .* needs 4 \(3 classes and the background\)"):
        find_trained(replace(config, data_dir=small_data), World())
