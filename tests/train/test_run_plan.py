import math
from pathlib import Path
from typing import Any

import pytest

from shardtune.train.config import TrainConfig
from shardtune.train.progress import RunProgress, Validation
from shardtune.train.run_config import RunInvariants
from shardtune.train.run_plan import RunPlan
from shardtune.train.schedule import LearningRateSchedule

SCHEDULE = LearningRateSchedule(base=0.1, scale=1.0, total_steps=10, warmup_steps=0)


def plan(**options: Any) -> RunPlan:
    return RunPlan(SCHEDULE, 8, **options)


@pytest.mark.parametrize(
    ("flags", "validation_examples", "every"),
    [
        ({}, 5, 10),  # 80 examples in batches of 8
        ({"validate_epochs": 0.25}, 5, 2),
        ({"validate_epochs": 0.01}, 5, 1),
        ({"validate_epochs": 0.0}, 5, 0),
        ({"validate_epochs": 0.0, "validate_every": 3}, 5, 3),
        ({"validate_every": 3}, 5, 3),
        ({"validate_every": 3}, 0, 0),
    ],
)
def test_the_interval_of_validations(flags: dict[str, Any], validation_examples: int, every: int) -> None:
    config = TrainConfig(Path("d"), Path("d"), **flags)
    assert RunPlan.from_config(config, RunInvariants(8, 1.0), 80, validation_examples).validate_every == every


def test_a_plan_takes_its_limits_from_flags() -> None:
    config = TrainConfig(Path("d"), Path("d"), max_steps=7, save_every=3, save_every_minutes=2.0, patience=4)
    found = RunPlan.from_config(config, RunInvariants(8, 1.0), 80, 5)
    assert (found.total_steps, found.save_every, found.save_every_seconds, found.patience) == (7, 3, 120, 4)
    assert RunPlan.from_config(TrainConfig(Path("d"), Path("d")), RunInvariants(8, 1.0), 80, 5).save_every_seconds == math.inf


@pytest.mark.parametrize(
    ("every", "step", "validated", "is_due"),
    [
        (3, 0, False, False),
        (3, 2, False, False),
        (3, 3, False, True),
        (3, 3, True, False),
        (3, 10, False, True),  # the last step
        (3, 10, True, False),
        (0, 10, False, False),
    ],
)
def test_when_a_validation_is_due(every: int, step: int, validated: bool, is_due: bool) -> None:
    progress = RunProgress(step, (Validation(step, 0.5),) if validated else ())
    assert plan(validate_every=every).is_validation_due(progress) == is_due


def test_a_run_is_finished_when_all_steps_are_taken_and_validated() -> None:
    assert not plan().is_finished(RunProgress(9))
    assert plan().is_finished(RunProgress(10))
    assert plan().is_finished(RunProgress(12))
    assert not plan(validate_every=4).is_finished(RunProgress(10))
    assert plan(validate_every=4).is_finished(RunProgress(10, (Validation(10, 0.5),)))


def test_a_run_is_finished_when_nothing_got_better_for_too_long() -> None:
    validations = tuple(Validation(step, precision) for step, precision in [(1, 0.5), (2, 0.75), (3, 0.5), (4, 0.75)])
    assert not plan(validate_every=1, patience=2).is_finished(RunProgress(3, validations[:3]))
    assert plan(validate_every=1, patience=2).is_finished(RunProgress(4, validations))
    assert not plan(validate_every=1, patience=2).is_finished(RunProgress(5, validations))  # a validation is due
    assert not plan(validate_every=1).is_finished(RunProgress(4, validations))


@pytest.mark.parametrize(
    ("progress", "seconds", "is_due"),
    [
        (RunProgress(3), 0, False),
        (RunProgress(4), 0, True),  # every 4 steps
        (RunProgress(3), 60, False),
        (RunProgress(3), 60.1, True),  # every minute
        (RunProgress(10), 0, True),  # at the end
        (RunProgress(3, (Validation(3, 0.5),)), 0, True),  # at the best
        (RunProgress(3, (Validation(2, 0.5), Validation(3, 0.25))), 0, False),
    ],
)
def test_when_a_checkpoint_is_due(progress: RunProgress, seconds: float, is_due: bool) -> None:
    assert plan(save_every=4, save_every_seconds=60).is_checkpoint_due(progress, seconds) == is_due
