import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError, ShardtuneError, UsageError
from shardtune.model import checkpoint_file
from shardtune.train.config import TrainConfig
from shardtune.train.run_config import RENAMED_FLAGS, RunInvariants
from shardtune.train.run_config import open_run as open_of
from tests.jsonvalues import json_values


def open_run(config: TrainConfig, workers: int) -> RunInvariants:
    return open_of(config, Manifest.load(config.data_dir), workers)


@pytest.fixture
def config(small_data: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(small_data, tmp_path, batch_size=8, gradient_accumulation_steps=2)


def test_the_first_start_decides(config: TrainConfig) -> None:
    invariants = open_run(config, workers=3)
    assert invariants == RunInvariants(48, 6.0)
    checkpoint_file.save(config.train_dir, 1, {})
    # However the same work is divided later.
    assert open_run(config, workers=1) == invariants
    assert open_run(replace(config, batch_size=48, gradient_accumulation_steps=1), workers=7) == invariants


def test_before_the_first_checkpoint_nothing_is_decided(config: TrainConfig) -> None:
    open_run(config, workers=3)
    assert open_run(replace(config, lr_scaling="sqrt", gradient_accumulation_steps=1), workers=4) == RunInvariants(32, 2.0)


ALLOWED, NEVER = "may change with --allow_config_change", "never changes in a run"


@pytest.mark.parametrize(
    ("changes", "listed"),
    [
        ({"seed": 1}, f"(seed was 0, is 1, and {ALLOWED})"),
        (
            {"max_steps": 7, "image_size": 107},
            f"(image_size was 299, is 107, and {ALLOWED}; max_steps was None, is 7, and {ALLOWED})",
        ),
        ({"initial_learning_rate": 0.1}, f"(initial_learning_rate was 0.001, is 0.1, and {ALLOWED})"),
        ({"precision": "mixed_bfloat16"}, f"(precision was float32, is mixed_bfloat16, and {ALLOWED})"),
        ({"precision": "tf32"}, f"(precision was float32, is tf32, and {ALLOWED})"),
        ({"jit": "update"}, f"(jit was none, is update, and {ALLOWED})"),
        ({"batch_norm": "synced"}, f"(batch_norm was per_worker, is synced, and {ALLOWED})"),
    ],
)
def test_a_changed_configuration_is_refused_unless_allowed(config: TrainConfig, changes: dict[str, Any], listed: str) -> None:
    invariants = open_run(config, workers=1)
    checkpoint_file.save(config.train_dir, 1, {})
    changed = replace(config, **changes)
    with pytest.raises(UsageError) as error:
        open_run(changed, workers=1)
    assert error.value.message == f"{config.train_dir} holds a run with another configuration {listed}."
    assert error.value.advice == "Give the same flags and data, pass --allow_config_change, or choose another --train_dir."
    assert open_run(replace(changed, allow_config_change=True), workers=2) == invariants
    assert open_run(changed, workers=2) == invariants  # it is the run's now
    written = json.loads((config.train_dir / "config.json").read_text())
    assert {name: written["config"][name] for name in changes} == changes


@pytest.mark.parametrize(
    ("changes", "listed"),
    [
        ({"optimizer": "rmsprop"}, "optimizer was sgd, is rmsprop"),
        ({"precision": "mixed_float16"}, "precision was float32, is mixed_float16"),
        ({"freeze_until": "mixed8"}, "freeze_until was None, is mixed8"),
        ({"freeze_trunk": True}, "freeze_trunk was False, is True"),
        ({"batch_norm": "frozen"}, "batch_norm was per_worker, is frozen"),
        ({"lr_scaling": "none"}, "lr_scaling was linear, is none"),
        ({"image_size": 106}, "image_size was 299, is 106"),
    ],
)
def test_what_never_changes_in_a_run_is_named(config: TrainConfig, changes: dict[str, Any], listed: str) -> None:
    config = replace(config, pretrained_model_checkpoint_path=Path("model.ckpt"))
    open_run(config, workers=1)
    checkpoint_file.save(config.train_dir, 1, {})
    before = (config.train_dir / "config.json").read_bytes()
    for allowed in (False, True):
        with pytest.raises(UsageError) as error:
            open_run(replace(config, seed=1, allow_config_change=allowed, **changes), workers=1)
        assert f"{listed}, and {NEVER}" in str(error.value)
        assert f"seed was 0, is 1, and {ALLOWED}" in str(error.value)
        assert f"in another --train_dir with --pretrained_model_checkpoint_path {config.train_dir}" in str(error.value)
    assert (config.train_dir / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "rule"), [(107, 299, ALLOWED), (107, 106, NEVER), (106, 107, NEVER), (75, 106, ALLOWED)]
)
def test_the_auxiliary_head_stays_or_stays_away(config: TrainConfig, old: int, new: int, rule: str) -> None:
    open_run(replace(config, image_size=old), workers=1)
    checkpoint_file.save(config.train_dir, 1, {})
    with pytest.raises(UsageError, match=rf"image_size was {old}, is {new}, and {rule}"):
        open_run(replace(config, image_size=new), workers=1)


def test_the_learning_rate_changes_by_epochs(config: TrainConfig) -> None:
    config = replace(config, learning_rate_decay="exponential", warmup_epochs=0, num_epochs_per_decay=2, max_steps=None)
    schedule = RunInvariants(global_batch=10, lr_scale=1.0).schedule(replace(config, epochs=3), examples=100)
    assert schedule.total_steps == 30
    assert schedule.rate(19) == config.initial_learning_rate
    assert schedule.rate(20) == pytest.approx(config.initial_learning_rate * config.learning_rate_decay_factor)


@pytest.mark.parametrize(("labels", "rule"), [(["a", "b"], NEVER), (["a", "b", "c"], ALLOWED)])
def test_classes_may_have_other_names_but_not_another_number(config: TrainConfig, labels: list[str], rule: str) -> None:
    open_run(config, workers=1)
    checkpoint_file.save(config.train_dir, 1, {})
    with pytest.raises(UsageError, match=rf"labels was \['blue', 'green', 'red'\], is {re.escape(str(labels))}, and {rule}"):
        open_of(config, replace(Manifest.load(config.data_dir), labels=labels), 1)


def test_other_data_are_refused(config: TrainConfig, small_data: Path, tmp_path: Path) -> None:
    open_run(config, workers=1)
    checkpoint_file.save(config.train_dir, 1, {})
    run = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**run, "data_sha256": "0"}))
    with pytest.raises(UsageError, match="data_sha256 was 0, is "):
        open_run(config, workers=1)


def test_a_run_from_before_a_flag_existed_resumes_with_its_default(config: TrainConfig, tmp_path: Path) -> None:
    open_run(config, workers=1)
    checkpoint_file.save(config.train_dir, 1, {})
    run = json.loads((tmp_path / "config.json").read_text())
    del run["config"]["precision"]
    (tmp_path / "config.json").write_text(json.dumps(run))
    open_run(config, workers=1)
    with pytest.raises(UsageError, match="precision was float32, is tf32"):
        open_run(replace(config, precision="tf32"), workers=1)


def test_a_run_with_flags_by_their_old_names_resumes_unchanged(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, save_every_minutes=5.0)
    invariants, path = open_run(config, workers=1), tmp_path / "config.json"
    checkpoint_file.save(config.train_dir, 1, {})
    run = json.loads(path.read_text())
    assert set(RENAMED_FLAGS.values()) <= run["config"].keys()
    old_names = {new: old for old, new in RENAMED_FLAGS.items()}
    run["config"] = {old_names.get(name, name): value for name, value in run["config"].items()}
    assert (run["config"]["accumulate"], run["config"]["save_minutes"]) == (2, 5.0)
    written = json.dumps(run)
    path.write_text(written)
    assert open_run(config, workers=1) == invariants
    assert path.read_text() == written
    with pytest.raises(UsageError) as error:
        open_run(replace(config, seed=1), workers=1)
    assert f"(seed was 0, is 1, and {ALLOWED})" in error.value.message


def test_without_examples_there_is_no_run(config: TrainConfig) -> None:
    manifest = replace(Manifest.load(config.data_dir), splits={"train": [], "validation": []})
    with pytest.raises(DataError, match=r"The training split of .* has no example\. Build"):
        open_of(config, manifest, 1)


@given(
    value=json_values(),
    key=st.sampled_from(["", "version", "config", "workers", "global_batch", "scale", "labels", "data_sha256"]),
)
def test_any_value_in_place_of_what_a_run_began_with_is_refused_or_one(config: TrainConfig, value: Any, key: str) -> None:
    path = config.train_dir / "config.json"
    path.unlink(missing_ok=True)
    for _, old in checkpoint_file.list_checkpoints(config.train_dir):
        old.unlink()
    invariants = open_run(config, workers=1)
    checkpoint_file.save(config.train_dir, 1, {})
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value} if key else value))
    try:
        found = open_run(config, workers=1)
        assert found == invariants or key in ("global_batch", "scale")
    except ShardtuneError:
        pass


def test_a_run_without_a_version_resumes(config: TrainConfig) -> None:
    invariants, path = open_run(config, workers=3), config.train_dir / "config.json"
    checkpoint_file.save(config.train_dir, 1, {})
    value = json.loads(path.read_text())
    path.write_text(json.dumps({key: part for key, part in value.items() if key != "version"}))
    assert open_run(config, workers=1) == invariants
    path.write_text(json.dumps({**value, "version": 2}))
    with pytest.raises(CheckpointError, match=r"has version 2, this shardtune reads version 1\."):
        open_run(config, workers=1)
