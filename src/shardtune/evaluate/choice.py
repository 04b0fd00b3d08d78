"""Which checkpoint of a run is evaluated."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file


def choose_checkpoint(run: Path, choice: str | None, report: Callable[[str], None]) -> tuple[int, Path] | None:
    """Step and path of a checkpoint; None where the run has none yet.

    Args:
        choice: "best" by validation, "last", a step, or None: the best where the run was validated, else the last.
        report: is given a sentence that says which it is.

    Raises:
        CheckpointError: the run has checkpoints, but not that one, or it cannot be told which is the best.
    """
    steps = dict(checkpoint_file.list_checkpoints(run))
    if not steps:
        return None
    best = best_step(run) if choice in (None, "best") else None
    if choice == "best" and best is None:
        raise CheckpointError(f"The run in {run} was never validated: no checkpoint is the best.", "Pass --checkpoint last.")
    if best is not None:
        step, text = best, f"Taking the best checkpoint by validation, of step {best}; the last is of step {max(steps)}."
    elif choice in (None, "last"):
        step = max(steps)
        text = f"Taking the last checkpoint, of step {step}{': the run was not validated' if choice is None else ''}."
    else:
        step = int(choice)
        text = f"Taking the checkpoint of step {step}; the last is of step {max(steps)}."
    if step not in steps:
        listed = ", ".join(map(str, sorted(steps)))
        raise CheckpointError(f"The run in {run} has no checkpoint of step {step}.", f"It has those of steps {listed}.")
    report(text)
    return step, steps[step]


def best_step(run: Path) -> int | None:
    """The step of the best validation, or None before the first.

    Raises:
        CheckpointError: best.json cannot be read.
    """
    path = checkpoint_file.best_path(run)
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["step"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).", "Pass --checkpoint last.") from error


def is_best(run: Path, step: int) -> bool:
    """Whether validation found the weights of `step` the best, as far as best.json can be read."""
    with suppress(CheckpointError):
        return best_step(run) == step
    return False
