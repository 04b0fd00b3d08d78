"""A supervisor in a batch job of SLURM, on a fake clock: for each schedule, what it does, prints and returns."""

from pathlib import Path
from signal import SIGTERM, SIGUSR1

import pytest

from shardtune.errors import UsageError
from shardtune.supervise.command import run
from shardtune.supervise.config import SuperviseConfig
from tests.supervise.cases import STOP_RANK, TRAIN, Case, check
from tests.supervise.schedule import FAILS, FINISHES, IS_ENDLESS, IS_REFUSED, LOSES_A_WORKER, Run, ScheduledMachine

SRUN = ("command", ("srun", "--mpi=pmix", *TRAIN))
REQUEUES = (("max_requeues", 10), SRUN)
REQUEUED = "The run in {train_dir} was %s. The job is requeued and resumes from the last checkpoint."
TOO_OFTEN = "The run in {train_dir} was %s after 3 requeues, and at most 3 are allowed. Submit the job again to resume."
CASES = [
    Case("finishes", (FINISHES,), 0, options=REQUEUES),
    Case("fails", (FAILS,), 1, options=REQUEUES),
    Case("refused", (IS_REFUSED,), 1, options=REQUEUES),
    Case("stops by its own time limit", (Run(outcome="stopped", status=1),), 75, options=REQUEUES),
    Case("one worker lost", (LOSES_A_WORKER,), 0, options=REQUEUES, printed=(REQUEUED % "lost",), events=("21 s: requeue 17",)),
    Case(
        "its time is nearly over",
        (IS_ENDLESS,),
        0,
        signals=((50.0, SIGUSR1),),
        options=REQUEUES,
        printed=(REQUEUED % "stopped",),
        events=("50 s: SIGUSR1 to the launcher", "52 s: requeue 17"),
    ),
    Case(
        "its time is nearly over before the run begins",
        (IS_ENDLESS,),
        0,
        signals=((3.0, SIGUSR1),),
        options=REQUEUES,
        printed=(REQUEUED % "stopped",),
        events=("3 s: SIGTERM to the group", "3 s: requeue 17"),
    ),
    Case(
        "cancelled",
        (IS_ENDLESS,),
        75,
        signals=((50.0, SIGTERM),),
        options=REQUEUES,
        events=("50 s: SIGUSR1 to the launcher",),
    ),
    Case("lost too often", (LOSES_A_WORKER,), 1, options=(("max_requeues", 3), SRUN), printed=(TOO_OFTEN % "lost",)),
    Case(
        "out of time too often",
        (IS_ENDLESS,),
        1,
        signals=((50.0, SIGUSR1),),
        options=(("max_requeues", 3), SRUN),
        printed=(TOO_OFTEN % "stopped",),
        events=("50 s: SIGUSR1 to the launcher",),
    ),
    Case(
        "a launcher of our own, whose rank is signalled",
        (IS_ENDLESS,),
        0,
        signals=((50.0, SIGUSR1),),
        options=(("max_requeues", 10),),
        printed=(REQUEUED % "stopped",),
        events=(f"50 s: {STOP_RANK}", "52 s: requeue 17"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("attempt", [None, 4], ids=["new", "resumed"])
def test_a_schedule(case: Case, attempt: int | None, tmp_path: Path) -> None:
    check(case, attempt, tmp_path)


def test_requeueing_needs_a_job(tmp_path: Path) -> None:
    config = SuperviseConfig(("srun", "shardtune", "train", "--train_dir=x"), max_requeues=1)
    with pytest.raises(UsageError, match="SLURM_JOB_ID is not"):
        run(config, ScheduledMachine(tmp_path, ()), {})
