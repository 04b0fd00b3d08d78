import json
import re
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.checkpoint_source import Checkpoint, find_data_directory
from shardtune.evaluate.command import _find_another, _load_inputs, _wait_for
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.counts import TopKCounts
from shardtune.evaluate.evaluation import report_progress, result_line
from shardtune.model import checkpoint_file
from shardtune.runtime.world import World
from tests.input.shards import write


def run_of(directory: Path, labels: list[str], *steps: int) -> Path:
    """A run directory with a configuration and with checkpoints that hold next to nothing."""
    directory.mkdir()
    run_config = {"config": {"image_size": 75}, "workers": 1, "labels": labels}
    (directory / checkpoint_file.RUN_CONFIG_NAME).write_text(json.dumps(run_config))
    for step in steps:
        checkpoint_file.save(directory, step, {"x": np.zeros(1)})
    return directory


def load(data: Path, checkpoint_dir: Path, **flags: Any) -> Any:
    return _load_inputs(EvalConfig(checkpoint_dir, **flags), data, World())


def test_the_newest_checkpoint_of_the_run_is_evaluated(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [2, 1], "validation")
    run = run_of(tmp_path / "run", ["n1", "n2", "n3"], 3, 7)
    for directory in (run, run / "checkpoints", Path(f"{run}/checkpoints/")):
        manifest, records, newest = load(data, directory)
        assert (manifest.examples("validation"), len(records)) == (3, 3)
        assert newest.notes == ("Taking the last checkpoint, of step 7: the run was not validated.",)
        path = run / "checkpoints" / "step-00000007.safetensors"
        labels, run_config = ["n1", "n2", "n3"], checkpoint_file.load_run_config(run)
        expected = Checkpoint(run, path, 7, 75, True, 4, labels, run_config, notes=newest.notes)
        assert replace(newest, directory=run) == expected
    assert load(data, run, image_size=107, ema=False)[2] == replace(newest, directory=run, image_size=107, averaged=False)


def test_the_test_split_is_evaluated(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run", ["n1", "n2", "n3"], 3), write(tmp_path / "data", [2, 1], "test")
    manifest, records, _ = load(data, run, subset="test")
    assert (manifest.examples("test"), len(records)) == (3, 3)
    train = write(tmp_path / "train", [3])
    with pytest.raises(
        DataError, match=r"test split of .* is empty\. Build the data set again with --test_fraction 0\.2, or pass"
    ):
        load(train, run, subset="test")


def test_a_run_whose_name_is_checkpoints_is_a_run(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [1], "validation")
    outer = run_of(tmp_path / "run", ["n1"], 3)
    inner = outer / "checkpoints"
    (inner / checkpoint_file.RUN_CONFIG_NAME).write_text((outer / checkpoint_file.RUN_CONFIG_NAME).read_text())
    checkpoint_file.checkpoint_path(inner, 5).parent.mkdir()
    checkpoint_file.save(inner, 5, {"x": np.zeros(1)})
    assert load(data, inner)[2].step == 5


def test_an_empty_split_is_refused_with_what_to_do(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ["n1"], 1)
    train, validation = write(tmp_path / "a", [1]), write(tmp_path / "b", [1], "validation")
    with pytest.raises(
        DataError,
        match=rf"The validation split of {train} is empty\. Build the data set again with --validation_fraction 0\.2, or pass "
        r"--subset train\.$",
    ):
        load(train, run)
    with pytest.raises(DataError, match=rf"The train split of {validation} is empty\. Pass --subset validation\.$"):
        load(validation, run, subset="train")


def test_a_run_of_other_classes_and_a_run_without_a_checkpoint_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "data", [1], "validation")
    other, new = run_of(tmp_path / "other", ["rose"], 1), run_of(tmp_path / "new", ["n1"])
    with pytest.raises(
        CheckpointError,
        match=rf"{other}/.* was trained on the classes \['rose'\], but {data} has \['n1'\]\. Choose the data set",
    ):
        load(data, other)
    with pytest.raises(CheckpointError, match=rf"The run in {new} has no checkpoint yet\. Run shardtune train first\.$"):
        load(data, new)


def test_a_run_that_has_no_checkpoint_yet_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = write(tmp_path / "data", [1], "validation"), tmp_path / "run"
    with ThreadPoolExecutor() as threads:
        loading = threads.submit(load, data, run, run_once=False, eval_interval_secs=1)
        run_of(run, ["n1"], 3)
        assert loading.result()[2].path == run / "checkpoints" / "step-00000003.safetensors"
    assert capsys.readouterr().out in (f"No checkpoint file found in {run}: waiting for one.\n", "")


def test_another_checkpoint_is_waited_for(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ["n1"], 3)
    data = write(tmp_path / "data", [1], "validation")
    config = EvalConfig(run, run_once=False, eval_interval_secs=1)
    find_another = partial(_find_another, config, data, Manifest.load(data), last_step=3)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(_wait_for, config, World(), find_another)
        assert not wait([waiting], timeout=2.5).done
        checkpoint_file.save(run, 7, {"x": np.zeros(1)})
        assert waiting.result().step == 7


def test_the_data_set_is_that_of_the_run(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run", ["n1"], 3), tmp_path / "data"
    run_config = {"config": {"image_size": 75, "data_dir": str(data)}, "workers": 1, "labels": ["n1"]}
    (run / checkpoint_file.RUN_CONFIG_NAME).write_text(json.dumps(run_config))
    with pytest.raises(
        DataError, match=rf"^The run in {run} was trained on {data}, which is not there\. Name its data set with --data_dir\.$"
    ):
        find_data_directory(run / "checkpoints")
    data.mkdir()
    assert find_data_directory(run / "checkpoints") == data


def test_the_data_set_of_a_run_that_has_not_begun_is_waited_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = EvalConfig(run, run_once=False, eval_interval_secs=1)
    with ThreadPoolExecutor() as threads:
        finding = threads.submit(_wait_for, config, World(), partial(find_data_directory, config.checkpoint_dir))
        assert not wait([finding], timeout=1.5).done
        (tmp_path / "new").mkdir()
        run_config = {"config": {"image_size": 75, "data_dir": str(tmp_path)}, "workers": 1, "labels": ["n1"]}
        (tmp_path / "new" / checkpoint_file.RUN_CONFIG_NAME).write_text(json.dumps(run_config))
        (tmp_path / "new").rename(run)
        assert finding.result() == tmp_path
    with pytest.raises(CheckpointError, match=r"nowhere is no run directory: it has no config\.json\. "):
        _wait_for(EvalConfig(tmp_path / "nowhere"), World(), lambda: None)


@pytest.mark.parametrize(("ranks", "batches", "done"), [(1, 45, [20, 40, 45]), (2, 23, [40, 45]), (1, 20, [20])])
def test_progress_is_printed_every_20_batches_and_at_the_end(
    capsys: pytest.CaptureFixture[str], ranks: int, batches: int, done: list[int]
) -> None:
    numbers = range(batches)
    assert list(report_progress(numbers, World(size=ranks), batch_size=10, examples=done[-1] * 10 - 3)) == list(numbers)
    pattern = (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?: \[(\d+) batches out of (\d+)\] \(\d+\.\d examples/sec; \d+\.\d{3}sec/batch\)"
    )
    lines = [re.fullmatch(pattern, line) for line in capsys.readouterr().out.splitlines()]
    assert [(int(line[2]), int(line[3])) for line in lines if line] == [(number, done[-1]) for number in done]


def test_recall_at_5_of_five_classes_is_explained() -> None:
    line = "precision @ 1 = 0.5000 recall @ 5 = 1.0000 [10 examples]"
    assert result_line(TopKCounts(10, 5, 10), 6) == line
    assert result_line(TopKCounts(10, 5, 10), 5) == f"{line} (recall @ 5 is always 1 for 5 classes, background included)"
