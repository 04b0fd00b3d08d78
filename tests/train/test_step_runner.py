"""The host goes on while the device takes steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from shardtune.dataset.index import open_data_set
from shardtune.input.reader import RecordReader
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.run_config import RunInvariants
from shardtune.train.run_context import RunContext
from shardtune.train.run_plan import RunPlan
from shardtune.train.state import TrainState
from shardtune.train.step_runner import StepRunner
from shardtune.train.stopping import StopRequest
from tests.train.networks import small

SIDE = 75


@pytest.fixture
def runner(small_data: Path, tmp_path: Path) -> StepRunner:
    """A runner of steps of 6 examples, in two micro-batches."""
    config = TrainConfig(small_data, tmp_path, image_size=SIDE, batch_size=6)
    manifest, records = open_data_set(small_data, World())
    context = RunContext.open(config, World(), StopRequest(None), threads=1)
    reader = RecordReader(small_data, manifest, "train", records["train"])
    plan = RunPlan.from_config(config, RunInvariants.from_config(config, 1), len(reader), 0)
    in_parts = replace(context, config=replace(config, batch_size=4))
    return StepRunner(in_parts, plan, reader, TrainState(small(manifest.num_classes, SIDE), config), 0)


def test_a_step_is_finished_when_no_more_than_so_many_run(runner: StepRunner) -> None:
    assert runner.finish_next(0) is None
    for step in range(3):
        images = runner.start(step)
        assert images.shape == (3, SIDE, SIDE, 3)
        assert runner.finish_next(step + 1) is None
    running = [metrics.loss for metrics in runner.wait()]
    numbers, losses = [], []
    for ahead in (1, 1, 1, 0):
        if finished := runner.finish_next(ahead):
            numbers.append((ahead, finished[0]))
            losses.append(finished[1].loss)
    assert numbers == [(1, 1), (1, 2), (0, 3)]
    assert losses == running
    assert len(set(losses)) == 3
    runner.close()
