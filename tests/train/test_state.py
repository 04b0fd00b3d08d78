import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from shardtune.download.source import RemoteFile
from shardtune.download.weights import WEIGHTS
from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file
from shardtune.model.inception import named_variables
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World
from shardtune.train.checkpoint_manager import LoadedCheckpoint
from shardtune.train.config import Optimizer, TrainConfig
from shardtune.train.optimizers import build_optimizer
from shardtune.train.progress import RunProgress
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep
from tests.download.server import serving
from tests.train.networks import small

BATCH, SIDE, CLASSES = 4, 8, 5
IMAGES = np.random.default_rng(3).normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
LABELS = np.array([1, 2, 3, 4])
CONFIG = TrainConfig(Path("d"), Path("d"), batch_size=BATCH, weight_decay=0.01)
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "rmsprop", "adam", "adamw")


def taken(state: TrainState, config: TrainConfig, steps: range) -> None:
    step = TrainStep(state, World(), config, BATCH)
    for number in steps:
        step([(tf.constant(IMAGES), tf.constant(LABELS))], number, 0.05, stop_requested=False)()


def restored(config: TrainConfig, tensors: Any) -> TrainState:
    state = TrainState(small(CLASSES, SIDE), config)
    checkpoint = LoadedCheckpoint(RunProgress(), tensors, Path("c"))
    state.restore_or_initialize(config, World(), RootOnly(checkpoint, is_root=True))
    return state


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_from_a_snapshot_to_the_same_bits(optimizer: Optimizer, precision: Any) -> None:
    config = replace(CONFIG, optimizer=optimizer, precision=precision)
    state = TrainState(small(CLASSES, SIDE), config)
    taken(state, config, range(3))
    saved = state.snapshot()
    again = restored(config, saved)
    assert all(np.array_equal(value, saved[name]) for name, value in again.snapshot().items())
    for each in (state, again):
        taken(each, config, range(3, 6))
    ends = state.snapshot(), again.snapshot()
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not np.array_equal(ends[0]["logits/logits/weights"], saved["logits/logits/weights"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_slots_that_bear_numbers_are_those_of_the_same_variables(optimizer: Optimizer) -> None:
    config = replace(CONFIG, optimizer=optimizer)
    state = TrainState(small(CLASSES, SIDE), config)
    taken(state, config, range(2))
    saved = state.snapshot()
    # As checkpoints were before: Keras's variables by their position, for the trainable variables in the model's order.
    kept = {name: value for name, value in saved.items() if not name.startswith("optimizer/")}
    variables = state.model.trainable_variables
    names = [next(name for name, weight in state.weights.items() if weight is variable) for variable in variables]
    keras_optimizer = build_optimizer(optimizer, variables, [True] * len(variables), 0.0)
    slots = {id(keras_optimizer.iterations): "iteration", id(keras_optimizer._learning_rate): "learning_rate"}
    for kind, attributes in (("momentum", ("momentums", "_momentums")), ("velocity", ("_velocities",))):
        for attribute in attributes:
            for name, slot in zip(names, getattr(keras_optimizer, attribute, []), strict=False):
                slots[id(slot)] = f"{kind}/{name}"
    for position, slot in enumerate(keras_optimizer.variables):
        kept[f"optimizer/{position:04d}"] = saved[f"optimizer/{slots[id(slot)]}"]
    again = restored(config, kept).snapshot()
    assert again.keys() == saved.keys()
    assert all(np.array_equal(again[name], saved[name]) for name in saved)


def test_the_word_imagenet_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = small(CLASSES, SIDE)
    values = {name: np.array(variable.numpy()) + 1 for name, variable in named_variables(model).items()}
    content = checkpoint_file.save(tmp_path, 1, values).read_bytes()
    with serving(content) as server:
        file = RemoteFile("k.h5", server.url(), f"md5:{hashlib.md5(content).hexdigest()}")
        monkeypatch.setitem(WEIGHTS, "keras", replace(WEIGHTS["keras"], file=file, checkpoint="k.h5"))
        state = TrainState(model, CONFIG)
        config = replace(CONFIG, pretrained_model_checkpoint_path=Path("imagenet"))
        state.restore_or_initialize(config, World(), RootOnly(None, is_root=True))
    assert all(np.array_equal(value, state.snapshot()[name]) for name, value in values.items())
    assert (tmp_path / "shardtune" / "weights" / "k.h5").read_bytes() == content


def test_a_start_from_random_weights_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    state = TrainState(small(CLASSES, SIDE), CONFIG)
    state.restore_or_initialize(CONFIG, World(), RootOnly(None, is_root=True))
    assert "Starting from random weights: give --pretrained_model_checkpoint_path" in capsys.readouterr().out
    restored(CONFIG, state.snapshot())
    assert capsys.readouterr().out == ""


def test_a_checkpoint_of_another_optimizer_changes_nothing() -> None:
    state = TrainState(small(CLASSES, SIDE), CONFIG)
    saved = state.snapshot()
    checkpoint = LoadedCheckpoint(RunProgress(), {name: value + 1 for name, value in saved.items()}, Path("c"))
    config = replace(CONFIG, optimizer="adam")
    other = TrainState(small(CLASSES, SIDE), config)
    before = other.snapshot()
    with pytest.raises(CheckpointError, match=r"optimizer/velocity/\S+ is missing"):
        other.restore_or_initialize(config, World(), RootOnly(checkpoint, is_root=True))
    assert all(np.array_equal(before[name], value) for name, value in other.snapshot().items())
