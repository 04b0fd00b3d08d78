"""Damaged and foreign data under real Horovod workers."""

import json
import shutil
from pathlib import Path

import pytest

from tests.distributed.training import train
from tests.input.shards import corrupt
from tests.launching import launch


@pytest.fixture
def damaged(small_data: Path, tmp_path: Path) -> Path:
    """The 60 + 21 examples of `small_data` with four corrupt ones in each split."""
    copy = Path(shutil.copytree(small_data, tmp_path / "copy"))
    for split in ("train", "validation"):
        corrupt(copy, [0, 7, 8, 20], split)  # type: ignore[arg-type]
    return copy


def test_workers_skip_and_count_corrupt_records_of_another_tool(damaged: Path, tmp_path: Path) -> None:
    for name in ("dataset.json", "records.bin"):
        (damaged / name).unlink()
    shutil.rmtree(damaged / ".shardtune", ignore_errors=True)
    run, skip = tmp_path / "run", ("--on_corrupt", "skip")
    output = train(damaged, run, "--augment", "inception", *skip, over="mpi", ranks=2)
    assert f"its index is kept in {damaged / '.shardtune-index'}" in output
    # The steps are more than an epoch: all four have come.
    assert f"4 corrupt record(s) were replaced by others: the first is record 0 of its split, at byte 0 of {damaged}" in output
    assert json.loads((run / "outcome.json").read_text())["corrupt_records"] == 4
    arguments = ("--data_dir", damaged, "--checkpoint_dir", run, "--eval_dir", tmp_path, "--batch_size", 4, *skip)
    body = ("-m", "tests.distributed.eval_body", "21")
    output = launch([*body, *map(str, arguments)], launcher="gloo", ranks=3)
    assert "4 corrupt record(s) were left out: the first is record 0 of its split" in output
    result = json.loads((tmp_path / "21" / "eval.json").read_text())
    assert (result["examples"], result["corrupt_records"]) == (17, 4)


def test_a_corrupt_record_ends_all_workers(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Corrupt record \d+ of its split, at byte \d+ of .*: the CRC of"):
        train(damaged, tmp_path / "run", over="mpi", ranks=3)
