"""A data set with names that are HTML or written from right to left, and a run of it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from shardtune.report.command import report
from shardtune.report.config import ReportConfig
from shardtune.runtime.world import World
from tests.report.runs import hostile_data, write_evaluation, write_run


@dataclass(frozen=True)
class Reported:
    """A run and its page."""

    data: Path
    run: Path
    page: Path


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    directory = tmp_path_factory.mktemp("report")
    data = hostile_data(directory)
    run = write_run(directory / "run <b>\u202e", data)
    write_evaluation(run / "eval", data, skill=0.5)
    report(ReportConfig((run,)), World())
    return Reported(data, run, run / "report.html")
