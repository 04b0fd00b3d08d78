import json
import re
from pathlib import Path

import numpy as np
import pytest

from shardtune.errors import CheckpointError
from shardtune.evaluate.choice import choose_checkpoint
from shardtune.model import checkpoint_file


def run_of(directory: Path, best: int | None) -> Path:
    """A run with checkpoints of steps 4, 8 and 12."""
    for step in (4, 8, 12):
        checkpoint_file.save(directory, step, {"x": np.zeros(1)})
    if best is not None:
        checkpoint_file.best_path(directory).write_text(json.dumps({"step": best, "precision_at_1": 0.5}))
    return directory


@pytest.mark.parametrize(
    ("best", "choice", "step", "said"),
    [
        (8, None, 8, "Taking the best checkpoint by validation, of step 8; the last is of step 12."),
        (8, "best", 8, "Taking the best checkpoint by validation, of step 8; the last is of step 12."),
        (8, "last", 12, "Taking the last checkpoint, of step 12."),
        (8, "4", 4, "Taking the checkpoint of step 4; the last is of step 12."),
        (8, "0004", 4, "Taking the checkpoint of step 4; the last is of step 12."),
        (None, None, 12, "Taking the last checkpoint, of step 12: the run was not validated."),
        (None, "last", 12, "Taking the last checkpoint, of step 12."),
        (None, "8", 8, "Taking the checkpoint of step 8; the last is of step 12."),
    ],
)
def test_a_choice(tmp_path: Path, best: int | None, choice: str | None, step: int, said: str) -> None:
    sentences: list[str] = []
    run = run_of(tmp_path, best)
    assert choose_checkpoint(run, choice, sentences.append) == (step, checkpoint_file.checkpoint_path(run, step))
    assert sentences == [said]


@pytest.mark.parametrize(
    ("best", "choice", "message"),
    [
        (None, "best", "The run in {run} was never validated: no checkpoint is the best. Pass --checkpoint last."),
        (8, "5", "The run in {run} has no checkpoint of step 5. It has those of steps 4, 8, 12."),
        (6, None, "The run in {run} has no checkpoint of step 6. It has those of steps 4, 8, 12."),
    ],
)
def test_a_choice_that_is_not_there(tmp_path: Path, best: int | None, choice: str | None, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^{re.escape(message.format(run=tmp_path))}$"):
        choose_checkpoint(run_of(tmp_path, best), choice, print)


def test_a_run_without_a_checkpoint_has_none_to_choose(tmp_path: Path) -> None:
    for choice in (None, "best", "last", "3"):
        assert choose_checkpoint(tmp_path, choice, print) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step": null}'])
def test_which_is_best_cannot_be_read(tmp_path: Path, content: str) -> None:
    run = run_of(tmp_path, None)
    checkpoint_file.best_path(run).write_text(content)
    with pytest.raises(CheckpointError, match=r"best\.json cannot be read \(.*\)\. Pass --checkpoint last\.$"):
        choose_checkpoint(run, None, print)
    assert choose_checkpoint(run, "last", print)
