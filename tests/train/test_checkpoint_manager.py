import json
from pathlib import Path

import numpy as np
import pytest

from shardtune.errors import CheckpointError
from shardtune.model import checkpoint_file
from shardtune.train.checkpoint_manager import CheckpointManager, NullCheckpointManager, expired_steps, load_latest_valid
from shardtune.train.progress import RunProgress, Validation
from shardtune.train.ranklog import RankLog
from tests.faults.mounts import Fault, Mounter, Options


def manager_of(directory: Path, keep: int) -> CheckpointManager:
    return CheckpointManager(directory, keep, RankLog(directory, 0))


def saved_steps(directory: Path) -> list[int]:
    return [step for step, _ in checkpoint_file.list_checkpoints(directory)]


def save(directory: Path, *steps: int, keep: int = 3, validations: tuple[Validation, ...] = ()) -> None:
    manager = manager_of(directory, keep)
    for step in steps:
        manager.save(RunProgress(step, validations), lambda step=step: {"w": np.full(3, step, np.float32)})
    manager.wait()


def test_the_newest_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 9, 10, keep=2)
    assert saved_steps(tmp_path) == [9, 10]


def test_the_best_by_validation_is_kept_too(tmp_path: Path) -> None:
    manager, progress = manager_of(tmp_path, 2), RunProgress()
    for precision in [0.5, 0.75, 0.6, 0.75, 0.7]:
        progress = progress.after_step().after_validation(precision)
        manager.save(progress, dict)
    manager.wait()
    assert saved_steps(tmp_path) == [2, 4, 5]
    assert json.loads((tmp_path / "checkpoints" / "best.json").read_text()) == {"step": 2, "precision_at_1": 0.75}


@pytest.mark.parametrize(
    ("steps", "keep", "best", "expired"),
    [
        ([], 1, None, []),
        ([1], 1, None, []),
        ([1, 2, 3], 3, None, []),
        ([1, 2, 3, 4], 2, None, [1, 2]),
        ([1, 2, 3, 4], 2, 1, [2]),
        ([1, 2, 3, 4], 2, 4, [1, 2]),
        ([1, 2, 3, 4], 2, 7, [1, 2]),
    ],
)
def test_all_but_the_newest_and_the_best_expire(steps: list[int], keep: int, best: int | None, expired: list[int]) -> None:
    assert expired_steps(steps, keep, best) == expired


def test_the_wait_for_a_checkpoint_is_logged(tmp_path: Path) -> None:
    save(tmp_path, 7)
    [line] = RankLog(tmp_path, 0).tail(9)
    assert "step 7: training waited 0.0" in line


def test_other_ranks_save_nothing() -> None:
    manager = NullCheckpointManager()
    manager.save(RunProgress(1), lambda: pytest.fail("the snapshot is for nobody"))
    manager.wait()
    assert manager.seconds_since_save == 0


def test_a_run_resumes_with_all_it_knew(tmp_path: Path) -> None:
    validations = (Validation(2, 0.5), Validation(4, 0.25))
    save(tmp_path, 4, validations=validations)
    loaded = load_latest_valid(tmp_path, pytest.fail)
    assert loaded is not None
    assert (loaded.progress, loaded.path) == (RunProgress(4, validations), checkpoint_file.checkpoint_path(tmp_path, 4))
    assert np.array_equal(loaded.tensors["w"], [4, 4, 4])
    assert loaded.progress.validations_since_best == 1


def test_a_run_without_checkpoints_starts(tmp_path: Path) -> None:
    assert load_latest_valid(tmp_path, pytest.fail) is None


def test_every_damage_to_the_newest_falls_back_to_the_one_before_and_is_reported(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, keep=2)
    path = checkpoint_file.checkpoint_path(tmp_path, 2)
    content = path.read_bytes()
    damages = [content[:size] for size in (0, 1, 8, len(content) // 2, len(content) - 1)]
    # The header is padded with blanks, which carry nothing.
    flips = [index for index in range(len(content)) if content[index] != ord(" ")]
    damages += [content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :] for index in flips]
    for damage in damages:
        path.write_bytes(damage)
        reports: list[str] = []
        loaded = load_latest_valid(tmp_path, reports.append)
        assert loaded is not None
        assert loaded.progress.step == 1
        expected = f"{path} is damaged. It is renamed to {path.name}.damaged, and the run resumes from the checkpoint before."
        assert reports == [expected]
        assert saved_steps(tmp_path) == [1]


def test_a_run_whose_checkpoints_are_all_damaged_is_reported_and_stays_as_it_is(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    for step in (1, 2):
        checkpoint_file.checkpoint_path(tmp_path, step).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"^All 2 checkpoints in .* are damaged\. Choose another --train_dir"):
            load_latest_valid(tmp_path, pytest.fail)


def test_what_cannot_be_written_is_raised_at_the_next_call(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, 1)
    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "checkpoints").write_text("a file in the way")
    manager.save(RunProgress(1), dict)
    with pytest.raises(FileExistsError):
        manager.wait()
    manager.wait()  # raised once


@pytest.mark.parametrize(
    ("call", "name", "error"),
    [("open", "/step-00000002.*", "EIO"), ("read", "/step-00000002.*", "EIO"), ("readdir", "", "EACCES")],
)
def test_a_call_that_fails_once_costs_no_checkpoint(
    hostile_directory: Mounter, tmp_path: Path, call: str, name: str, error: str
) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault(call, f"/checkpoints{name}", 1, error)))
    save(tmp_path / "backing", 1, 2)
    with pytest.raises((CheckpointError, OSError), match=f"{mount}/checkpoints"):
        load_latest_valid(mount, pytest.fail)
    loaded = load_latest_valid(mount, pytest.fail)
    assert loaded is not None
    assert loaded.progress.step == 2
