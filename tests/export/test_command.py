"""What `shardtune export` leaves, refuses, and leaves behind when it is killed."""

import json
import random
import re
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.errors import CheckpointError, DataError, ExportError
from shardtune.export import card, check, formats
from shardtune.export.command import export
from shardtune.export.config import ExportConfig
from shardtune.export.predictors import load
from shardtune.export.trained import TrainedModel
from shardtune.export.trained import load as load_trained
from shardtune.model.checkpoint_file import checkpoint_path
from shardtune.runtime.files import sha256_file
from shardtune.runtime.world import World
from tests.export.conftest import FORMATS, Exported
from tests.launching import finish, start
from tests.pictures import plant

FILES = {
    "savedmodel": ["saved_model"],
    "keras": ["model.keras"],
    "tflite": ["model.float16.tflite", "model.float32.tflite", "model.int8.tflite"],
    "onnx": ["model.onnx"],
}
HEAD = re.compile(r"---\n(.*?)---\n", re.DOTALL)


def test_the_export_is_whole_and_says_what_it_is(exported: Exported) -> None:
    models = sorted(name for kind in FORMATS for name in FILES[kind])
    assert sorted(path.name for path in exported.folder.iterdir()) == sorted([*models, "README.md", "labels.txt", "model.json"])
    assert list(exported.folder.parent.iterdir()) == [exported.folder]
    assert (exported.folder / "labels.txt").read_text() == "blue\ngreen\nred\n"
    described = exported.model_json()
    assert described["classes"] == ["blue", "green", "red"]
    assert described["image_size"] == 75
    provenance = described["provenance"]
    assert (provenance["step"], provenance["averaged"]) == (6, True)
    assert provenance["checkpoint_sha256"] == sha256_file(checkpoint_path(exported.run, 6))
    assert provenance["config_sha256"] == sha256_file(exported.run / "config.json")
    assert provenance["data_sha256"] == json.loads((exported.data / "dataset.json").read_text())["manifest_sha256"]
    assert str(exported.run.parent) not in (exported.folder / "model.json").read_text()


def test_every_file_was_checked_and_the_result_is_printed_and_kept(exported: Exported) -> None:
    precision = float(np.mean(exported.probabilities.argmax(1) == exported.labels - 1))
    models = exported.model_json()["models"]
    assert len(models) == sum(len(FILES[kind]) for kind in FORMATS)
    for name, model in models.items():
        check = model["check"]
        assert check["examples"] == 21
        assert check["precision_at_1_before"] == pytest.approx(precision)
        assert 0 <= check["largest_difference"] <= check["bound"]
        assert re.search(
            rf"^{name}: probabilities differ by at most \S+ \(bound \S+\), precision @ 1 = ", exported.output, re.M
        )
    assert models["saved_model"]["check"]["bound"] == 1e-5


def test_the_model_card_has_a_head_that_the_hub_reads(exported: Exported) -> None:
    card = (exported.folder / "README.md").read_text()
    [model] = yaml.safe_load(HEAD.match(card)[1])["model-index"]  # type: ignore[index]
    assert model["name"] == exported.run.name == "flowers <b>"
    [result] = model["results"]
    assert result["task"] == {"type": "image-classification"}
    precision = exported.model_json()["models"]["saved_model"]["check"]["precision_at_1_before"]
    assert result["metrics"] == [{"type": "accuracy", "name": "precision@1", "value": precision}]
    assert "<b>" not in HEAD.sub("", card, 1)
    for text in ("60 images of 3 classes", "optimizer: adam", "started from random weights", "21 images, 95 % interval"):
        assert text in card


def test_the_background_class_is_given_out_on_request_and_training_images_check_where_there_are_no_others(
    exported: Exported, tmp_path: Path
) -> None:
    build(BuildConfig(plant(tmp_path / "images", per_class=2), output_directory=tmp_path / "data", train_shards=1), World())
    export(ExportConfig(exported.run / "checkpoints", tmp_path / "out", background=True, data_dir=tmp_path / "data"), World())
    described = json.loads((tmp_path / "out" / "model.json").read_text())
    assert (described["check_split"], described["models"]["saved_model"]["check"]["examples"]) == ("train", 6)
    classes = described["classes"]
    assert classes == ["background", "blue", "green", "red"]
    exponents = np.exp(exported.logits.astype(np.float64))
    found = load(tmp_path / "out" / "saved_model", classes, 75)(exported.files)
    assert np.abs(found - exponents / exponents.sum(1, keepdims=True)).max() <= 1e-5


@pytest.mark.parametrize("kind", ["keras", pytest.param("savedmodel", marks=pytest.mark.exhaustive)])
def test_an_export_that_differs_is_an_error_and_nothing_is_left(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def write(kind: str, trained: object, *rest: object) -> None:
        layer = trained.network.get_layer("logits.logits")  # type: ignore[attr-defined]
        layer.bias.assign_add([0.0, 0.1, 0.0, 0.0])
        original(kind, trained, *rest)  # type: ignore[arg-type]

    original = formats.write
    monkeypatch.setattr(formats, "write", write)
    with pytest.raises(ExportError, match=r"does not compute what the checkpoint does: probabilities differ by at most 0\.0"):
        export(ExportConfig(exported.run, tmp_path / "out", (kind,)), World())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_export_that_cannot_be_loaded_is_an_error_and_nothing_is_left(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "write", lambda kind, trained, functions, folder, heartbeat: (folder / "model.keras").touch())
    with pytest.raises(ExportError, match=r"^model\.keras cannot be loaded and run \(.+\)\."):
        export(ExportConfig(exported.run, tmp_path / "out", ("keras",)), World())
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def trained(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return load_trained(ExportConfig(exported.run, tmp_path_factory.mktemp("trained") / "out"), World())


def test_names_that_several_classes_have_are_told_apart_and_stand_on_one_line(trained: TrainedModel) -> None:
    names = replace(trained.manifest, labels=["crane", "a\nb", "crane"], words=[])
    assert replace(trained, manifest=names).classes == ["crane (1)", "a b", "crane (3)"]
    words = replace(names, labels=["n1", "n2", "background"], words=["crane", "heron", "x"])
    assert replace(trained, manifest=words, background=True).classes == ["background", "n1 crane", "n2 heron", "background x"]
    sizes = replace(trained.manifest, provenance={**trained.manifest.provenance, "max_side": 400, "exif": "keep"})
    limits = card._limits_of_files(replace(trained, manifest=sizes))
    assert "at most 400 pixels a side" in limits
    assert "leave out what the programs above do about EXIF" in limits
    assert "pixels a side" not in card._limits_of_files(trained)
    weird = replace(trained, run=Path('/tmp/\U0001f33c "run"\x85\udce9'))
    head = yaml.safe_load(card._head(weird.name, weird, 0.5).strip("-"))
    assert head["model-index"][0]["name"] == '\U0001f33c "run"\x85?'


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.3, 0.4, np.nan]] * 20, r"model\.int8\.tflite computes no numbers"),
        ([[0.34, 0.33, 0.33]] * 20, r"model\.int8\.tflite does not compute what .* 0\.0000, before 1\.0000"),
    ],
)
def test_what_computes_nonsense_within_the_bound_is_an_error(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch, rows: list[list[float]], message: str
) -> None:
    monkeypatch.setattr(check, "_run", lambda *arguments: iter(rows))
    reference = check.Reference(np.array([[0.3, 0.4, 0.3]] * 20, np.float32), np.ones(20, np.int64))
    with pytest.raises(ExportError, match=message):
        check.compare(Path("model.int8.tflite"), 0.5, trained, reference, lambda: None)


def test_what_exists_is_not_overwritten(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match=rf"^{output} exists already\. Choose another --output_directory, or pass --ov"):
            export(ExportConfig(exported.run, output), World())
        with pytest.raises(DataError, match=rf"^{output} is no export that could be replaced: it has no model\.json of"):
            export(ExportConfig(exported.run, output, overwrite=True), World())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_export_is_overwritten_on_request_once_by_several_ranks(exported: Exported, tmp_path: Path) -> None:
    output = shutil.copytree(exported.folder, tmp_path / "out")
    (output / "eval").mkdir()
    (output / "mine").touch()
    with pytest.raises(DataError, match=rf"^{output} is no export that could be replaced: it has mine, too\. Choose another"):
        export(ExportConfig(exported.run, output, ("keras",), overwrite=True), World())
    (output / "mine").unlink()
    command = [sys.executable, "-m", "shardtune", "export", "--checkpoint_dir", str(exported.run), "--output_directory"]
    flags = (str(output), "--format", "keras", "--overwrite")
    done = finish(start([*command, *flags], launcher="mpirun", ranks=2), timeout=400)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Exporting needs one process: rank 0 of 2 works, the others wait.") == 1
    assert done.stdout.count("model.keras: probabilities differ by at most") == 1
    assert sorted(path.name for path in output.iterdir()) == ["README.md", "labels.txt", "model.json", "model.keras"]
    assert json.loads((output / "model.json").read_text())["labels"] == ["blue", "green", "red"]
    assert [*tmp_path.iterdir()] == [output]


def test_a_data_set_that_is_gone_or_another_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"The data set {tmp_path}/none, .* Give its --data_dir\.$"):
        export(ExportConfig(exported.run, tmp_path / "out", data_dir=tmp_path / "none"), World())
    run = tmp_path / "run"
    run.mkdir()
    config = json.loads((exported.run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"The run in {run} has no checkpoint yet\."):
        export(ExportConfig(run, tmp_path / "out"), World())
    shutil.copytree(exported.run / "checkpoints", run / "checkpoints")
    (run / "config.json").write_text(json.dumps({**config, "labels": ["a", "b", "c"]}))
    with pytest.raises(CheckpointError, match=r"was trained on the classes \['a', 'b', 'c'\], but"):
        export(ExportConfig(run, tmp_path / "out"), World())


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.exhaustive] * (seed >= 1)) for seed in range(20)])
def test_a_killed_export_leaves_nothing_under_its_name(exported: Exported, tmp_path: Path, seed: int) -> None:
    generator, output = random.Random(seed), tmp_path / "out"
    command = [sys.executable, "-m", "shardtune", "export", "--checkpoint_dir", str(exported.run), "--output_directory"]
    job = start([*command, str(output)])
    # The writing begins with the temporary directory; it and the check take some seconds.
    while job.poll() is None and not list(tmp_path.iterdir()):
        time.sleep(0.01)
    time.sleep(generator.uniform(0, 20))
    job.kill()
    finish(job, timeout=60)
    if output.exists():
        assert {path.name for path in output.iterdir()} == {"saved_model", "model.json", "README.md", "labels.txt"}
    assert all(re.fullmatch(r"out|\.out\.[0-9a-f]{16}\.tmp", path.name) for path in tmp_path.iterdir())
