import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.config import BuildConfig
from shardtune.config import to_json_dict
from shardtune.errors import UsageError
from shardtune.evaluate.config import EvalConfig
from shardtune.export.config import ExportConfig
from shardtune.report.config import ReportConfig
from shardtune.train.config import DEFAULT_EPOCHS, TrainConfig, parse_duration

D = Path("somewhere")
FORMATS = "a tuple, each one of savedmodel, keras, onnx, tflite"


@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        ({"train_shards": 0}, "0"),
        ({"train_shards": -3}, "-3"),
        ({"validation_shards": 0}, "0"),
        ({"max_rejects": -1}, "-1"),
        ({"validation_fraction": 1.0}, "1.0"),
        ({"validation_fraction": -0.25}, "-0.25"),
        ({"validation_fraction": float("nan")}, "nan"),
    ],
)
def test_a_build_that_cannot_be_is_refused(wrong: dict[str, Any], value: str) -> None:
    with pytest.raises(UsageError, match=rf"^--{next(iter(wrong))} must be .*, not {re.escape(value)}\. See --help\.$"):
        BuildConfig(D, output_directory=D, **wrong)


@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        ({"image_size": 74}, "74"),
        ({"batch_size": 0}, "0"),
        ({"save_every": 0}, "0"),
        ({"log_every": -1}, "-1"),
        ({"initial_learning_rate": 0.0}, "0.0"),
        ({"initial_learning_rate": float("nan")}, "nan"),
        ({"batch_norm_decay": 1.0}, "1.0"),
        ({"batch_norm_decay": -0.1}, "-0.1"),
        ({"epochs": 0.0}, "0.0"),
        ({"epochs": -2.0}, "-2.0"),
        ({"epochs": float("inf")}, "inf"),
        ({"max_steps": 0}, "0"),
        ({"max_steps": -5}, "-5"),
        ({"moving_average_decay": 1.0}, "1.0"),
        ({"gradient_accumulation_steps": 0}, "0"),
        ({"keep_checkpoints": 0}, "0"),
        ({"hang_timeout": 0.0}, "0.0"),
        ({"clip_norm": -1.0}, "-1.0"),
        ({"patience": 0}, "0"),
        ({"weight_decay": -0.1}, "-0.1"),
        ({"warmup_epochs": float("inf")}, "inf"),
        ({"validate_every": 0}, "0"),
        ({"time_limit": "soon"}, "soon"),
        ({"time_limit": "0m"}, "0m"),
        ({"profile": "10-20"}, "10-20"),
    ],
)
def test_a_training_run_that_cannot_be_is_refused(wrong: dict[str, Any], value: str) -> None:
    with pytest.raises(UsageError, match=rf"^--{next(iter(wrong))} must be .*, not {re.escape(value)}\. See --help\.$"):
        TrainConfig(D, D, **wrong)


@pytest.mark.parametrize(
    ("contradiction", "message"),
    [
        (
            {"epochs": 3.0, "max_steps": 7},
            "--epochs 3.0 and --max_steps 7 both say how long the run is. Leave out one",
        ),
        ({"fine_tune": True}, "--fine_tune needs weights to start from. Give their --pretrained_model_checkpoint_path."),
        ({"pretrained_ema": True}, "--pretrained_ema needs weights to start from."),
        ({"batch_norm": "frozen"}, "--batch_norm frozen needs weights to start from."),
        ({"freeze_trunk": True, "freeze_until": "mixed3"}, "--freeze_trunk and --freeze_until mixed3 both say what is frozen."),
        ({"jit": "all", "deterministic": True}, "--jit all cannot be --deterministic: "),
        ({"jit": "all", "batch_norm": "synced"}, "--jit all cannot compile --batch_norm synced, "),
    ],
)
def test_flags_of_training_that_contradict_each_other_are_refused(contradiction: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        TrainConfig(D, D, **contradiction)


@pytest.mark.parametrize(
    ("contradiction", "message"),
    [
        (
            {"validation_fraction": 0.5, "validation_directory": D},
            "--validation_directory and --validation_fraction both say which images are for validation. Leave out all but one.",
        ),
        ({"ignore_unlisted": True}, "--ignore_unlisted needs --labels_file."),
        (
            {"exif": "keep", "bounding_box_file": D},
            "--exif keep contradicts --bounding_box_file: boxes refer to upright images.",
        ),
    ],
)
def test_flags_of_a_build_that_contradict_each_other_are_refused(contradiction: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        BuildConfig(D, output_directory=D, **contradiction)


@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        ({"batch_size": 0}, "0"),
        ({"num_examples": 0}, "0"),
        ({"num_examples": -1}, "-1"),
        ({"eval_interval_secs": 0}, "0"),
        ({"checkpoint": "first"}, "first"),
        ({"checkpoint": "-3"}, "-3"),
        ({"checkpoint": ""}, ""),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(wrong: dict[str, Any], value: str) -> None:
    with pytest.raises(UsageError, match=rf"^--{next(iter(wrong))} must be .*, not {re.escape(value)}\. See --help\.$"):
        EvalConfig(D, D, D, **wrong)


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (TrainConfig, {"optimizer": "Adam"}, "--optimizer must be one of sgd, rmsprop, adam, adamw, not 'Adam'."),
        (TrainConfig, {"batch_size": 8.5}, "--batch_size must be a whole number, not 8.5."),
        (TrainConfig, {"batch_size": True}, "--batch_size must be a whole number, not True."),
        (TrainConfig, {"epochs": "2"}, "--epochs must be a number or None, not '2'."),
        (TrainConfig, {"fine_tune": 1}, "--fine_tune must be True or False, not 1."),
        (TrainConfig, {"time_limit": 3600}, "--time_limit must be text or None, not 3600."),
        (EvalConfig, {"data_dir": "data"}, "--data_dir must be a pathlib.Path or None, not 'data'."),
        (EvalConfig, {"subset": "Train"}, "--subset must be one of train, validation, test, not 'Train'."),
        (ReportConfig, {"train_dir": ["run"]}, "--train_dir must be a tuple, each a pathlib.Path, not ['run']."),
        (ReportConfig, {"train_dir": ("run",)}, "--train_dir must be a tuple, each a pathlib.Path, not ('run',)."),
        (
            ExportConfig,
            {"format": "keras"},
            f"--format must be {FORMATS}, not 'keras'.",
        ),
        (
            ExportConfig,
            {"format": ("h5",)},
            f"--format must be {FORMATS}, not ('h5',).",
        ),
    ],
)
def test_a_value_of_another_type_is_refused(config: Any, wrong: dict[str, Any], message: str) -> None:
    required = {field.name: D for field in fields(config) if field.default is MISSING and field.default_factory is MISSING}
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        config(**required | wrong)


def test_a_whole_number_is_a_number() -> None:
    assert TrainConfig(D, D, epochs=2).epochs == 2


@pytest.mark.parametrize("choice", ["best", "7"])
def test_one_checkpoint_and_every_new_one_contradict_each_other(choice: str) -> None:
    with pytest.raises(UsageError, match=rf"^--run_once=False evaluates each new checkpoint, and --checkpoint {choice} one\."):
        EvalConfig(D, checkpoint=choice, run_once=False)
    assert EvalConfig(D, checkpoint="last", run_once=False).checkpoint == "last"


@pytest.mark.parametrize(
    ("options", "examples", "global_batch", "steps"),
    [
        ({"epochs": 2.0}, 80, 8, 20),
        ({"epochs": 2.0}, 80, 40, 4),  # more workers take fewer, larger steps
        ({"epochs": 0.5}, 80, 8, 5),
        ({"epochs": 1.0}, 3, 32, 1),  # less than one global batch is still a step
        ({"max_steps": 2000}, 80, 1, 2000),
        ({"max_steps": 2000}, 80, 8, 2000),
        ({}, 100, 10, DEFAULT_EPOCHS * 10),
    ],
)
def test_steps(options: dict[str, Any], examples: int, global_batch: int, steps: int) -> None:
    assert TrainConfig(D, D, **options).total_steps(examples, global_batch) == steps


@pytest.mark.parametrize(
    ("duration", "seconds"), [("3h55m", 14100), ("90m", 5400), ("20s", 20), ("1h2m3s", 3723), ("", 0), ("5", 0), ("1m1h", 0)]
)
def test_times_as_people_write_them(duration: str, seconds: float) -> None:
    assert parse_duration(duration) == seconds


@given(st.integers(1, 10**7), st.integers(1, 10**6), st.one_of(st.none(), st.floats(1e-3, 1e3)))
def test_steps_see_the_epochs_that_were_asked(examples: int, global_batch: int, epochs: float | None) -> None:
    steps = TrainConfig(D, D, epochs=epochs).total_steps(examples, global_batch)
    wanted = (DEFAULT_EPOCHS if epochs is None else epochs) * examples
    assert steps >= 1
    assert steps == 1 or abs(steps * global_batch - wanted) <= global_batch / 2


@pytest.mark.parametrize(
    "config",
    [
        BuildConfig(D / "a", output_directory=D, labels_file=Path("labels.txt")),
        TrainConfig(D, D / "run", pretrained_model_checkpoint_path=D / "model.ckpt", fine_tune=True, epochs=1.5),
        EvalConfig(D, D, D, num_examples=7),
    ],
)
def test_as_json_survives_json(config: Any) -> None:
    value = to_json_dict(config)
    assert json.loads(json.dumps(value)) == value
    rebuilt = {k: type(getattr(config, k))(v) if isinstance(getattr(config, k), Path | tuple) else v for k, v in value.items()}
    assert type(config)(**rebuilt) == config
