"""A supervisor on a fake clock: for each schedule of faults and signals, what it does, prints and returns."""

from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, SIGUSR1

import pytest

from tests.supervise.cases import STOP_RANK, Case, check, supervise
from tests.supervise.schedule import FAILS, FINISHES, IS_ENDLESS, IS_REFUSED, LOSES_A_WORKER, Run, ScheduledMachine

HANGS_AT_THE_END = Run(exits=None)


def restart(number: int, maximum: int = 3) -> str:
    return f"A worker was lost. The run in {{train_dir}} resumes from its last checkpoint (restart {number} of {maximum})."


CASES = [
    Case("finishes", (FINISHES,), 0),
    Case("finished before", (replace(IS_REFUSED, status=0),), 0),
    Case("a launcher's status of a finished run does not count", (replace(FINISHES, status=1),), 0),
    Case("refused at the first start", (IS_REFUSED,), 2),
    Case("launcher killed before the run began", (replace(IS_REFUSED, status=137),), 137),
    Case("stops by its own time limit", (Run(outcome="stopped", status=1),), 75),
    Case("fails", (FAILS,), 1, printed=("The run in {train_dir} has failed: Training diverged at step 7.",)),
    Case("one worker lost", (LOSES_A_WORKER, FINISHES), 0, starts=2, printed=(restart(1),)),
    Case(
        "fails after a restart",
        (LOSES_A_WORKER, FAILS),
        1,
        starts=2,
        printed=(restart(1), "The run in {train_dir} has failed: "),
    ),
    Case(
        "lost too often",
        (LOSES_A_WORKER, LOSES_A_WORKER),
        1,
        options=(("max_restarts", 1),),
        starts=2,
        printed=(restart(1, 1), "The run in {train_dir} was lost after 1 restarts, as many as --max_restarts allows. "),
    ),
    Case(
        "no restart allowed",
        (LOSES_A_WORKER,),
        1,
        options=(("max_restarts", 0),),
        printed=("The run in {train_dir} was lost after 0 restarts, as many as --max_restarts allows. ",),
    ),
    Case(
        "refused at the second start, by a lock of a host that is gone",
        (LOSES_A_WORKER, IS_REFUSED, FINISHES),
        0,
        starts=3,
        printed=(restart(1), restart(2)),
    ),
    Case(
        "refused for ever",
        (LOSES_A_WORKER, IS_REFUSED, IS_REFUSED, IS_REFUSED),
        1,
        starts=4,
        printed=(restart(1), restart(2), restart(3), "The run in {train_dir} was refused after 3 restarts, as many as "),
    ),
    Case("Ctrl-C", (IS_ENDLESS,), 75, signals=((50.0, SIGINT),), events=(f"50 s: {STOP_RANK}",)),
    Case("SIGTERM", (IS_ENDLESS,), 75, signals=((50.0, SIGTERM),), events=(f"50 s: {STOP_RANK}",)),
    Case("SIGUSR1", (IS_ENDLESS,), 75, signals=((50.0, SIGUSR1),), events=(f"50 s: {STOP_RANK}",)),
    Case(
        "two signals, the first of which the run does not hear",
        (replace(IS_ENDLESS, stops_on_request=False, ends=70.0, exits=71.0, outcome="stopped"),),
        75,
        signals=((50.0, SIGINT), (60.0, SIGTERM)),
        events=(f"50 s: {STOP_RANK}", f"60 s: {STOP_RANK}"),
    ),
    Case("Ctrl-C before the run begins", (IS_ENDLESS,), 75, signals=((2.0, SIGINT),), events=("2 s: SIGTERM to the group",)),
    Case("Ctrl-C while the launcher ends", (replace(FINISHES, exits=25.0),), 0, signals=((22.0, SIGINT),)),
    Case(
        "a stopped run loses a worker before it has stopped",
        (replace(LOSES_A_WORKER, stops_on_request=False, exits=60.0),),
        75,
        signals=((50.0, SIGTERM),),
        events=(f"50 s: {STOP_RANK}",),
    ),
    Case(
        "Ctrl-C after a restart",
        (LOSES_A_WORKER, IS_ENDLESS),
        75,
        signals=((50.0, SIGINT),),
        starts=2,
        printed=(restart(1),),
        events=(f"50 s: {STOP_RANK}",),
    ),
    Case(
        "Ctrl-C in the pause before a restart",
        (LOSES_A_WORKER, IS_REFUSED),
        130,
        signals=((40.0, SIGINT),),
        starts=2,
        printed=(restart(1), "Stopped by signal 2 while no process of the job was running. The same command resumes."),
    ),
    Case(
        "SIGTERM in the pause",
        (LOSES_A_WORKER, IS_REFUSED),
        143,
        signals=((40.0, SIGTERM),),
        starts=2,
        printed=(restart(1), "Stopped by signal 15 "),
    ),
    Case(
        "a launcher that does not end",
        (HANGS_AT_THE_END,),
        0,
        events=("50 s: SIGTERM to the group",),
    ),
    Case(
        "a launcher that does not end on SIGTERM",
        (replace(HANGS_AT_THE_END, ignores=(SIGTERM,)),),
        0,
        events=("50 s: SIGTERM to the group", "65 s: SIGKILL to the group"),
    ),
    Case("a rest of the group ends later", (replace(FINISHES, group_exits=40.0),), 0),
    Case(
        "a rest of the group stays",
        (replace(FINISHES, group_exits=9999.0, ignores=(SIGTERM, SIGKILL)),),
        0,
        events=("50 s: SIGTERM to the group", "65 s: SIGKILL to the group"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("attempt", [None, 4], ids=["new", "resumed"])
def test_a_schedule(case: Case, attempt: int | None, tmp_path: Path) -> None:
    check(case, attempt, tmp_path)


def test_a_pause_lets_the_lock_of_a_lost_host_expire(tmp_path: Path) -> None:
    machine = ScheduledMachine(tmp_path, (LOSES_A_WORKER, IS_REFUSED, FINISHES))
    assert supervise(machine) == 0
    assert machine.now() == pytest.approx(21 + 3 + 60 + 21, abs=3)


def test_hosts_that_do_not_answer_are_left_out_of_a_restart(tmp_path: Path) -> None:
    machine = ScheduledMachine(tmp_path, (LOSES_A_WORKER, FINISHES), reachable=("a",))
    assert supervise(machine, hosts="a:4,b:3", interface="eth0") == 0
    command = f"/venv/bin/shardtune train --train_dir {tmp_path}"
    assert machine.started == [
        f"horovodrun --gloo -np 7 -H a:4,b:3 --network-interfaces eth0 {command}",
        f"horovodrun --gloo -np 4 -H a:4 {command}",
    ]
    assert "Host b does not answer and is left out." in machine.lines
    assert f"The run in {tmp_path} resumes from its last checkpoint on a:4 (restart 1 of 3)." in machine.lines[-2]


@pytest.mark.parametrize(
    ("reachable", "min_workers", "message"),
    [
        (("a",), 5, "Only 4 workers are left, fewer than --min_workers 5."),
        ((), 1, "None of the hosts a:4,b:3 answers. Run the same command again when one does."),
    ],
)
def test_too_few_workers_end_a_run(tmp_path: Path, reachable: tuple[str, ...], min_workers: int, message: str) -> None:
    machine = ScheduledMachine(tmp_path, (LOSES_A_WORKER,), reachable=reachable)
    assert supervise(machine, hosts="a:4,b:3", min_workers=min_workers) == 1
    assert machine.lines[-1].startswith(message)


def test_an_evaluation_leaves_hosts_out_at_once_and_becomes_the_launcher(tmp_path: Path) -> None:
    machine = ScheduledMachine(tmp_path, (), reachable=("b",))
    with pytest.raises(SystemExit):
        supervise(machine, hosts="a:4,b:3", command=("shardtune", "eval"))
    assert machine.started == ["horovodrun --gloo -np 3 -H b:3 /venv/bin/shardtune eval"]


@pytest.mark.parametrize(("host", "pid"), [("-oProxyCommand=x", 5), ("a b", 5), ("", 5), ("a", 0), ("a", "5"), ("a", True)])
def test_what_is_no_process_gets_no_signal(tmp_path: Path, host: str, pid: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.supervise.schedule.HOST", host)
    monkeypatch.setattr("tests.supervise.schedule.PID", pid)
    machine = ScheduledMachine(tmp_path, (FINISHES,), ((10.0, SIGINT),))
    assert supervise(machine) == 0
    assert machine.events == []
    assert machine.lines[-1] == f"The outcome.json in {tmp_path} names no process, so none can be asked to stop."
