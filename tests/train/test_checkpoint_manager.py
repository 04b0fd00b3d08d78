import json
from pathlib import Path

import numpy as np
import pytest

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file
from shardtune.train.checkpoint_manager import CheckpointManager, ValidationHistory, resume


def names(directory: Path) -> list[int]:
    return [step for step, _ in checkpoint_file.list_checkpoints(directory)]


def save(directory: Path, *steps: int, keep: int = 3, history: ValidationHistory | None = None) -> None:
    keeper = CheckpointManager(directory, keep)
    for step in steps:
        keeper.save(step, {"w": np.full(3, step, np.float32)}, history or ValidationHistory())
    keeper.wait()


def test_the_newest_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 9, 10, keep=2)
    assert names(tmp_path) == [9, 10]


def test_the_best_by_validation_is_kept_too(tmp_path: Path) -> None:
    keeper, history = CheckpointManager(tmp_path, 2), ValidationHistory()
    for step, precision in [(1, 0.5), (2, 0.75), (3, 0.6), (4, 0.75), (5, 0.7)]:
        history.add(step, precision)
        keeper.save(step, {}, history)
    keeper.wait()
    assert names(tmp_path) == [2, 4, 5]
    assert json.loads((tmp_path / "checkpoints" / "best.json").read_text()) == {"step": 2, "precision_at_1": 0.75}


def test_a_run_goes_on_with_all_it_knew(tmp_path: Path) -> None:
    history = ValidationHistory()
    history.add(2, 0.5)
    history.add(4, 0.25)
    save(tmp_path, 4, history=history)
    found = resume(tmp_path, pytest.fail)
    assert found is not None
    step, tensors, known, path = found
    assert (step, known, path) == (4, history, checkpoint_file.checkpoint_path(tmp_path, 4))
    assert np.array_equal(tensors["w"], [4, 4, 4])
    assert known.validations_since_best == 1


def test_a_run_without_checkpoints_begins(tmp_path: Path) -> None:
    assert resume(tmp_path, pytest.fail) is None


def test_every_damage_to_the_newest_falls_back_to_the_one_before_and_is_told(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, keep=2)
    path = checkpoint_file.checkpoint_path(tmp_path, 2)
    content = path.read_bytes()
    damages = [content[:size] for size in (0, 1, 8, len(content) // 2, len(content) - 1)]
    # The header is padded with blanks, which carry nothing.
    flips = [place for place in range(len(content)) if content[place] != ord(" ")]
    damages += [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in flips]
    for damage in damages:
        path.write_bytes(damage)
        told: list[str] = []
        found = resume(tmp_path, told.append)
        assert found is not None
        assert found[0] == 1
        assert told == [f"{path} is damaged: it is renamed to {path.name}.damaged, and the run goes on from the one before."]
        assert names(tmp_path) == [1]


def test_a_run_whose_checkpoints_are_all_damaged_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    for step in (1, 2):
        checkpoint_file.checkpoint_path(tmp_path, step).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"all 2 in .* are damaged: give another --train_dir"):
            resume(tmp_path, pytest.fail)


def test_what_cannot_be_written_is_told_at_the_next_call(tmp_path: Path) -> None:
    keeper = CheckpointManager(tmp_path, 1)
    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "checkpoints").write_text("a file in the way")
    keeper.save(1, {}, ValidationHistory())
    with pytest.raises(FileExistsError):
        keeper.wait()
    keeper.wait()  # told once
