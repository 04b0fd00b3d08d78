"""Every flag of the scripts of 2016 × every spelling that their flags library took, and the command lines of the tutorials."""

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from shardtune.builder.config import BuildConfig
from shardtune.errors import UsageError
from shardtune.evaluate.config import EvalConfig
from shardtune.flags.flags2016 import FLAGS_2016, Fixed, Kept, Rescaled, Unused, describe
from shardtune.flags.parser import parse_flags
from shardtune.train.config import TrainConfig

CONFIGS: dict[str, type[Any]] = {"build": BuildConfig, "train": TrainConfig, "eval": EvalConfig}
REQUIRED = {
    "build": ["--train_directory=a", "--output_directory=b"],
    "train": ["--data_dir=a", "--train_dir=b", "--pretrained_model_checkpoint_path=c"],  # which fine_tune needs
    "eval": ["--data_dir=a", "--checkpoint_dir=b", "--eval_dir=c"],
}
SCRIPTS = {
    "build_image_data": "build",
    "build_imagenet_data": "build",
    "flowers_train": "train",
    "imagenet_train": "train",
    "imagenet_distributed_train": "train",
    "flowers_eval": "eval",
    "imagenet_eval": "eval",
}
WITHOUT_FLAGS = {"download_and_preprocess_flowers"}  # it had a directory, in its place
VALUES = {"string": "some/path", "integer": "77", "float": "0.25"}
TRUE = ["--{}", "--{}=True", "--{}=true", "--{}=1", "--{}=t", "--{} True", "-{}", "-{}=True"]
FALSE = ["--{}=False", "--{}=false", "--{}=0", "--{}=f", "--{} False", "--no{}", "--no_{}", "-no{}"]
PLAIN = ["--{}={value}", "--{} {value}", "-{}={value}", "-{} {value}"]


def parse(command: str, *words: str) -> tuple[Any, list[str]]:
    return parse_flags(command, CONFIGS[command], [*REQUIRED[command], *words], is_positional=False)


@pytest.fixture(scope="module")
def scripts(shared_data: Path) -> dict[str, dict[str, dict[str, str]]]:
    """{script: {flag: {"type", "default"}}}."""
    value: dict[str, dict[str, dict[str, str]]] = json.loads((shared_data / "flags2016.json").read_text())["scripts"]
    return value


def test_every_script_and_every_flag_has_its_place(scripts: dict[str, Any]) -> None:
    assert scripts.keys() == SCRIPTS.keys() | WITHOUT_FLAGS
    for command, rows in FLAGS_2016.items():
        assert rows.keys() == {flag for script, name in SCRIPTS.items() if name == command for flag in scripts[script]}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_in_every_spelling(scripts: dict[str, Any], script: str) -> None:
    command = SCRIPTS[script]
    before, _ = parse(command)
    for flag, kind in scripts[script].items():
        treatment = FLAGS_2016[command][flag]
        if kind["type"] == "boolean":
            cases = [(form, value) for value, forms in (("True", TRUE), ("False", FALSE)) for form in forms]
        else:
            values = {treatment.value, VALUES[kind["type"]]} if isinstance(treatment, Fixed) else {VALUES[kind["type"]]}
            cases = [(form, value) for value in values for form in PLAIN]
        if (command, flag) == ("eval", "subset"):
            cases = [(form, "train") for form in PLAIN]
        for form, value in cases:
            for name in (flag, flag.replace("_", "-")):
                words = [word.format(name, value=value) for word in form.split(" ")]
                if isinstance(treatment, Fixed) and value != treatment.value:
                    message = rf"^--{flag}={value} is not possible: {re.escape(treatment.reason)}\. "
                    with pytest.raises(UsageError, match=message + re.escape(treatment.advice.format(value=value))):
                        parse(command, *words)
                    continue
                after, notes = parse(command, *words)
                if isinstance(treatment, Kept):
                    assert str(getattr(after, flag)) == value, words
                    assert notes == ([f"--{flag} implies {treatment.implies}, as in 2016."] if treatment.implies else [])
                elif isinstance(treatment, Rescaled):
                    assert getattr(after, treatment.flag) == pytest.approx(77 / 60, rel=1e-5)
                    assert notes == []
                else:
                    assert after == before, words
                    assert notes == ([f"--{flag} has no effect: {treatment.reason}."] if isinstance(treatment, Unused) else [])


@pytest.mark.parametrize("script", SCRIPTS)
def test_other_defaults_of_2016_are_named(scripts: dict[str, Any], script: str) -> None:
    ours = {field.name: field.default for field in dataclasses.fields(CONFIGS[SCRIPTS[script]])}
    for flag, kind in scripts[script].items():
        treatment = FLAGS_2016[SCRIPTS[script]][flag]
        if isinstance(treatment, Kept) and kind["default"] != ("" if ours[flag] is None else str(ours[flag])):
            assert kind["default"] in re.split(", and | for |; ", treatment.default), flag
        if isinstance(treatment, Fixed):
            assert kind["default"] == treatment.value


@pytest.mark.parametrize("command", FLAGS_2016)
def test_help_says_what_became_of_each(command: str) -> None:
    lines = describe(command).splitlines()[1:]
    assert [line.split(maxsplit=1) for line in lines] == [[f"--{name}", str(row)] for name, row in FLAGS_2016[command].items()]


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("build", "validation_directory"),
        ("build", "labels_file"),
        ("build", "imagenet_metadata_file"),
        ("build", "bounding_box_file"),
        ("train", "pretrained_model_checkpoint_path"),
        ("eval", "data_dir"),
        ("eval", "eval_dir"),
    ],
)
@pytest.mark.parametrize("words", ["--{}=", "--{} ", "--{}=x --{}="])
def test_an_empty_value_is_none(command: str, flag: str, words: str) -> None:
    assert getattr(parse(command, *words.format(flag, flag).split(" "))[0], flag) is None


@pytest.mark.parametrize(
    ("command", "flag"), [("train", "data_dir"), ("eval", "checkpoint_dir"), ("build", "output_directory")]
)
def test_a_path_that_is_needed_is_not_empty(command: str, flag: str) -> None:
    for words in ([f"--{flag}="], [f"--{flag}", ""]):
        with pytest.raises(UsageError, match=rf"^--{flag} has no value\. Name a path after --{flag}\.$"):
            parse(command, *words)


def test_several_gpus_are_several_workers() -> None:
    with pytest.raises(UsageError, match=r"^--num_gpus=4 is not .* horovodrun -np 4 shardtune train …, or launch/train\.sh "):
        parse("train", "--num_gpus=4")


def test_the_decay_of_2016_comes_with_its_flags_unless_another_is_asked_for() -> None:
    flags = ["--num_epochs_per_decay=2", "--learning_rate_decay_factor=0.9"]
    config, notes = parse("train", *flags)
    assert config.learning_rate_decay == "exponential"
    assert notes == ["--num_epochs_per_decay implies --learning_rate_decay=exponential, as in 2016."]
    config, notes = parse("train", *flags, "--learning_rate_decay", "step")
    assert (config.learning_rate_decay, notes) == ("step", [])


ADVICE = r"Say --fine_tune, or --nofine_tune\.$"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fine_tune=maybe"], rf"^--fine_tune=maybe is neither true nor false\. {ADVICE}"),
        (["--fine_tune="], rf"^--fine_tune= is neither true nor false\. {ADVICE}"),
        (["--nofine_tune=True"], r"^--nofine_tune=True has a value\. Say --nofine_tune, or --fine_tune=True\.$"),
        (["--fine_tune", "maybe"], r"^maybe belongs to no flag of shardtune train\. "),
        (["--num_readers"], r"^--num_readers has no value\. Give it one, or leave out --num_readers\.$"),
        (["--num_readers", "--max_steps=3"], r"^--num_readers has no value\."),
        (["--num_reader=4"], r"^--num_reader is not a flag of shardtune train\. Did you mean --num_readers\? "),
        (["--save_interval_secs=soon"], r"^--save_interval_secs=soon is not a number\. It sets --save_every_minutes: "),
        (["--max_steps=-1"], r"^--max_steps must be above 0 and finite, not -1\. "),
        (["--max_steps", "-1"], r"^--max_steps must be above 0 and finite, not -1\. "),
        (["--fine_tun=True"], r"^--fine_tun is not a flag of shardtune train\. Did you mean --fine_tune\? "),
    ],
)
def test_values_that_no_flag_takes(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse("train", *words)


TUTORIALS = [  # the README of research/inception
    (
        "build --train_directory=/d/train --validation_directory=/d/validation --output_directory=/d "
        "--labels_file=/d/labels.txt --train_shards=128 --validation_shards=24 --num_threads=8",
        BuildConfig(
            Path("/d/train"),
            output_directory=Path("/d"),
            validation_directory=Path("/d/validation"),
            labels_file=Path("/d/labels.txt"),
        ),
    ),
    (  # its download_and_preprocess_imagenet.sh
        "build --train_directory=/d/raw-data/train/ --validation_directory=/d/raw-data/validation/ --output_directory=/d "
        "--imagenet_metadata_file=/w/imagenet_metadata.txt --labels_file=/w/synsets.txt --bounding_box_file=/d/boxes.csv",
        BuildConfig(
            Path("/d/raw-data/train"),
            output_directory=Path("/d"),
            validation_directory=Path("/d/raw-data/validation"),
            labels_file=Path("/w/synsets.txt"),
            imagenet_metadata_file=Path("/w/imagenet_metadata.txt"),
            bounding_box_file=Path("/d/boxes.csv"),
        ),
    ),
    (
        "train --train_dir=/t --data_dir=/d --pretrained_model_checkpoint_path=/m/model.ckpt-157585 --fine_tune=True "
        "--initial_learning_rate=0.001 --input_queue_memory_factor=1",
        TrainConfig(Path("/d"), Path("/t"), Path("/m/model.ckpt-157585"), fine_tune=True),
    ),
    (
        "train --num_gpus=1 --batch_size=32 --train_dir=/t --data_dir=/d",
        TrainConfig(Path("/d"), Path("/t")),
    ),
    (
        "eval --eval_dir=/e --data_dir=/d --subset=validation --num_examples=500 --checkpoint_dir=/t "
        "--input_queue_memory_factor=1 --run_once",
        EvalConfig(Path("/t"), Path("/d"), Path("/e"), num_examples=500),
    ),
]


@pytest.mark.parametrize(("line", "expected"), TUTORIALS)
def test_command_lines_of_the_tutorials(line: str, expected: Any) -> None:
    command, *words = shlex.split(line)
    assert parse_flags(command, CONFIGS[command], words, is_positional=False)[0] == expected
