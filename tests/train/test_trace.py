from pathlib import Path

import pytest

from shardtune.errors import UsageError
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.trace import Trace


def trace(directory: Path, profile: str | None, *, first_step: int = 0) -> Trace:
    return Trace(TrainConfig(directory, directory, profile=profile), World(), 5, first_step)


def written(directory: Path) -> list[Path]:
    return list(directory.glob("plugins/profile/*/*.xplane.pb"))


def test_a_trace_is_written_after_its_last_step_or_at_the_end_of_the_run(tmp_path: Path) -> None:
    for profile, steps in (("1,2", 5), ("3,9", 4)):
        directory = tmp_path / profile
        steps_traced = trace(directory, profile)
        for step in range(steps):
            steps_traced.before_step(step)
            steps_traced.after_step(step)
            assert bool(written(directory)) == (profile == "1,2" and step >= 2)
        steps_traced.stop()
        assert len(written(directory)) == 1


def test_steps_that_were_taken_before_are_not_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = trace(tmp_path, "1,2", first_step=2)
    assert "No trace: step 1 was taken before." in capsys.readouterr().out
    steps.before_step(2)
    steps.after_step(2)
    assert not written(tmp_path)


def test_a_trace_begins_within_the_run(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^--profile starts at step 5, but the last step of the run is 4\. Choose earlier steps\.$"
    ):
        trace(tmp_path, "5,7")
