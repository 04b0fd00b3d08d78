"""Checkpoints of research/inception and of TF-Slim are found, described and refused."""

from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.checkpoint_source import Checkpoint, find_data_directory
from shardtune.evaluate.command import _find_another, _find_checkpoint, _load_inputs, _wait_for
from shardtune.evaluate.config import EvalConfig
from shardtune.model import checkpoint_file, inception, pretrained, slim
from shardtune.model.averages import EMA_SUFFIX
from shardtune.model.inception import LOGITS_BIASES, named_variables
from shardtune.runtime.world import World
from tests.input.shards import write
from tests.model.checkpoints import (
    V1,
    V2,
    Array,
    Arrays,
    auxiliary_head,
    in_release_layout,
    in_slim_layout,
    save,
    stand_in,
)

NOTE = "It has no names of classes: its outputs are taken for the classes of the data set in their order."
SIZE = "It does not say for which size of images it is: 299 pixels are taken."
NO_AVERAGES = "It has no averaged weights: those of its last step are taken."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes."""
    return write(tmp_path_factory.mktemp("data"), [3], "validation")


@pytest.fixture(scope="module")
def model() -> Any:
    return inception.build(4, 75, auxiliary_head=False)


@pytest.fixture(scope="module")
def last(model: Any) -> Arrays:
    """Weights of the last step."""
    shapes = {name: variable.shape for name, variable in named_variables(model).items()} | auxiliary_head(4)
    return {name: stand_in(name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def averages(last: Arrays) -> Arrays:
    return {name: stand_in(f"averaged/{name}", array.shape) for name, array in last.items()}


@pytest.fixture(scope="module")
def images() -> Array:
    return np.random.default_rng(3).uniform(-1, 1, (5, 75, 75, 3)).astype(np.float32)


def find(data: Path, old: Path, **flags: Any) -> Checkpoint | None:
    return _find_checkpoint(EvalConfig(old, **flags), data, Manifest.load(data))


def logits(model: Any, images: Array, path: Path, averaged: bool) -> Array:
    pretrained.restore(model, path, averaged=averaged)
    return np.asarray(model(images, training=False)["logits"])


@pytest.mark.parametrize(
    ("kind", "version", "ema"),
    [
        ("2016", V1, True),
        pytest.param("2016", V2, False, marks=pytest.mark.exhaustive),
        ("slim", V2, True),
        ("slim with averages", V1, True),
    ],
)
def test_the_logits_are_those_of_the_same_weights_in_a_checkpoint_of_ours(
    data: Path, model: Any, last: Arrays, averages: Arrays, images: Array, kind: str, version: int, ema: bool, tmp_path: Path
) -> None:
    of_slim = {**in_slim_layout(last), "global_step": np.array(1999)}
    slim_averages = {f"{name}{EMA_SUFFIX}": array for name, array in in_slim_layout(averages).items()}
    arrays = {"2016": in_release_layout(last, averages), "slim": of_slim, "slim with averages": of_slim | slim_averages}[kind]
    prefix = save(tmp_path / "model.ckpt-1999", arrays, version)
    found = find(data, tmp_path, ema=ema)
    averaged = ema and kind != "slim"
    notes = (NOTE, SIZE, NO_AVERAGES) if ema and not averaged else (NOTE, SIZE)
    assert found == Checkpoint(tmp_path, prefix, 1999, 299, averaged, 4, notes=notes)
    expected = logits(model, images, checkpoint_file.save(tmp_path, 1, averages if averaged else last), averaged=False)
    assert np.ptp(expected, axis=0).min() > 0  # they tell images apart
    assert np.array_equal(logits(model, images, found.path, found.averaged), expected)


def test_the_release_itself(shared_data: Path, tmp_path: Path) -> None:
    release, flowers = shared_data / "inception-v3-2016-03-01", write(tmp_path / "flowers", [5], "validation")
    with pytest.raises(
        CheckpointError,
        match=rf"^The checkpoint {release}/model\.ckpt-157585 has 1001 outputs, but {flowers} needs 6 \(5 classes and the "
        r"background\)\. Choose the data set that it was trained on with --data_dir\.$",
    ):
        find(flowers, release)
    found = find(write(tmp_path / "imagenet", [1000], "validation"), release, image_size=320)
    assert found
    assert (found.path, found.step, found.image_size) == (release / "model.ckpt-157585", 157585, 320)
    assert not found.averaged
    assert NO_AVERAGES in found.notes


def heads(step: object = 1999.0, name: str = LOGITS_BIASES, outputs: int = 4) -> Arrays:
    """What is read to describe a checkpoint."""
    return {name: np.zeros(outputs, np.float32), "global_step": np.asarray(step, np.float32)}


@pytest.mark.parametrize(
    ("name", "step"),
    [("model.ckpt-1998", 1998), ("inception_v3.ckpt", 1999), ("model.ckpt-best", 1999), ("model-2.ckpt", 1999)],
)
def test_the_step_is_in_the_name_as_in_2016_else_global_step(data: Path, tmp_path: Path, name: str, step: int) -> None:
    save(tmp_path / name, heads(), V2)
    found = find(data, tmp_path)
    assert found
    assert found.step == step


def test_a_checkpoint_without_any_step(data: Path, tmp_path: Path) -> None:
    save(tmp_path / "inception_v3.ckpt", {LOGITS_BIASES: np.zeros(4, np.float32)}, V2)
    found = find(data, tmp_path)
    assert found
    assert found.step == 0


def test_what_only_a_run_of_ours_has_is_refused(data: Path, tmp_path: Path) -> None:
    save(tmp_path / "model.ckpt-5", heads(), V2)
    with pytest.raises(DataError, match=r"do not name the data set of their training\. Name it with --data_dir\.$"):
        find_data_directory(tmp_path)
    with pytest.raises(CheckpointError, match=r"^--checkpoint 5 chooses a checkpoint of a run, but .* of TensorFlow\."):
        find(data, tmp_path, checkpoint="5")


@pytest.mark.parametrize("version", [V1, V2])
def test_the_next_checkpoint_is_waited_for(data: Path, version: int, tmp_path: Path) -> None:
    config = EvalConfig(tmp_path, run_once=False, eval_interval_secs=1)
    find_another = partial(_find_another, config, data, Manifest.load(data), last_step=5)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(_load_inputs, config, data, World())
        save(tmp_path / "model.ckpt-5", heads(), version)
        assert first.result()[2].step == 5
        second = threads.submit(_wait_for, config, World(), find_another)
        assert not wait([second], timeout=2.5).done
        (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/tmp/train/model.ckpt-7"')  # copied before it is there
        assert not wait([second], timeout=2.5).done
        save(tmp_path / "model.ckpt-7", heads(), version)
        assert second.result().path == tmp_path / "model.ckpt-7"


def refused(data: Path, old: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        _load_inputs(EvalConfig(old), data, World())


@pytest.mark.parametrize("path", ["/tmp/train/model.ckpt-7", "../model.ckpt-7", "/etc/passwd", ".."])
def test_a_checkpoint_file_leads_to_no_other_folder(data: Path, tmp_path: Path, path: str) -> None:
    save(tmp_path / "model.ckpt-7", heads(), V1)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "checkpoint").write_text(f'model_checkpoint_path: "{path}"')
    name = Path(path).name
    refused(data, tmp_path / "old", rf"^{tmp_path}/old/checkpoint names the checkpoint {name}, which is not there\. Restore it")


def test_one_file_of_a_run_is_named_by_its_step(data: Path, tmp_path: Path) -> None:
    refused(
        data, tmp_path / "step-00000003.safetensors", r"step-00000003\.safetensors is one checkpoint of a run\. Give the run"
    )


def test_what_is_neither_a_run_nor_a_checkpoint(data: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere" / "model.ckpt-7"):
        refused(
            data,
            path,
            rf"^{path} is no run directory: it has no config\.json\. Give the --train_dir of a run, an export, or",
        )


@pytest.mark.parametrize("name", ["resnet_v1_50/logits/biases", "InceptionV4/Logits/Logits/biases", "biases"])
@pytest.mark.parametrize("version", [V1, V2])
def test_a_checkpoint_of_another_network(data: Path, tmp_path: Path, name: str, version: int) -> None:
    path = save(tmp_path / "model.ckpt-7", heads(name=name), version)
    refused(data, tmp_path, rf"^{path}.* is no checkpoint of Inception v3: it has neither logits/logits/biases \(research/inc")


def test_a_checkpoint_without_a_background_class(data: Path, tmp_path: Path) -> None:
    save(tmp_path / "model.ckpt-7", heads(name=slim.LOGITS_BIASES, outputs=3), V2)
    refused(
        data, tmp_path, r"model\.ckpt-7 has 3 outputs, but .* needs 4 \(.*\)\. It seems to have no background class, as TF-S"
    )


@pytest.mark.parametrize("step", [np.inf, np.nan, [1.0, 2.0]])
def test_a_step_that_is_none(data: Path, tmp_path: Path, step: object) -> None:
    path = save(tmp_path / "model.ckpt", heads(step), V2)
    refused(data, tmp_path, rf"^The checkpoint {path}.index cannot be read \(.+\)\. Download it again, or give another one\.$")


@pytest.mark.parametrize("kind", ["V1", "V2 index", "V2 data"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98, None])
def test_damaged_checkpoints(data: Path, tmp_path: Path, kind: str, keep: float | None) -> None:
    path = save(tmp_path / "model.ckpt-7", heads(), V1 if kind == "V1" else V2)
    damaged = Path(f"{path}{ {'V1': '', 'V2 index': '.index', 'V2 data': '.data-00000-of-00001'}[kind] }")
    content = damaged.read_bytes()
    damaged.unlink()
    if keep is not None:
        damaged.write_bytes(content[: int(keep * len(content))])
    message = r"^The checkpoint {path}.* cannot be read \(.+\)\. |names the checkpoint model\.ckpt-7, which is not there\. "
    refused(data, tmp_path, message.format(path=path))
