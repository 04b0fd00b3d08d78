from typing import Any

import pytest

from shardtune.builder.config import BuildConfig
from shardtune.doctor.config import DoctorConfig
from shardtune.evaluate.config import EvalConfig
from shardtune.flags.spelling import rewrite
from shardtune.inspect.config import InspectConfig
from shardtune.predict.config import PredictConfig
from shardtune.supervise.config import SuperviseConfig


@pytest.mark.parametrize(
    ("command", "config", "words", "expected"),
    [
        # Booleans of our own have the spellings of 2016, too.
        ("build", BuildConfig, "--overwrite=True --noignore_unlisted", "--overwrite --no_ignore_unlisted"),
        ("doctor", DoctorConfig, "--json=1", "--json"),
        # An export is no checkpoint, and has a flag of the better name.
        ("eval", EvalConfig, "--model export --data_dir=d", "--checkpoint_dir export --data_dir=d"),
        ("predict", PredictConfig, "--model=export a.jpg", "--checkpoint_dir=export a.jpg"),
        # What follows a boolean flag may be an argument of its own: here a data set called 1.
        ("inspect", InspectConfig, "--augmented 1", "--augmented 1"),
        ("inspect", InspectConfig, "--augmented=1 1", "--augmented 1"),
        # The words of another command are its own.
        ("supervise", SuperviseConfig, "--dry_run=1 -- x train --nofine_tune", "--dry_run -- x train --nofine_tune"),
        ("supervise", SuperviseConfig, "--hosts= --workers 2", "--hosts= --workers 2"),
        # Words that are no flags of the command stay for the parser to refuse, or are values.
        ("build", BuildConfig, "--ignore *.txt old/* -q --bogus=1 --seed -5", "--ignore *.txt old/* -q --bogus=1 --seed -5"),
        ("verify", InspectConfig, "-h", "-h"),
    ],
)  # fmt: skip
def test_words_are_rewritten(command: str, config: type[Any], words: str, expected: str) -> None:
    positional = command in ("inspect", "verify", "supervise")
    assert rewrite(command, config, words.split(" "), is_positional=positional) == (expected.split(" "), [])
