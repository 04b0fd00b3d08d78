import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shardtune.runtime.rollcall import ANSWER_SECONDS, Member, Report, RollCall, find_late_ranks

HOSTS = ["a", "b", "c"]


def report(*order: int, state: Any = "stuck") -> Report:
    return Report(state, list(order), f"at {order[1]}", 1)  # type: ignore[arg-type] # as JSON has it


INPUT, STEP, NEXT, WAITING = report(3, 7, 2), report(3, 7, 3), report(3, 8, 2), report(4, 0, 0)


@pytest.mark.parametrize(
    ("answers", "ranks", "words"),
    [
        ([STEP, None], [1], "rank 1 of 2 on b does not answer"),
        ([None, INPUT, None], [0, 2], "rank 0 of 3 on a, rank 2 of 3 on c do not answer"),
        ([STEP, INPUT, STEP], [1], "rank 1 of 3 on b is late (at 7)"),
        ([NEXT, STEP, NEXT], [1], "rank 1 of 3 on b is late (at 7)"),
        ([INPUT, NEXT, INPUT], [0, 2], "rank 0 of 3 on a, rank 2 of 3 on c are late (at 7)"),
        ([WAITING, NEXT, WAITING], [1], "rank 1 of 3 on b is late (at 8)"),
        ([STEP, STEP], [0, 1], "all ranks are at the same position (at 7)"),
    ],
)
def test_late_ranks_are_named(answers: list[Report | None], ranks: list[int], words: str) -> None:
    assert find_late_ranks(dict(enumerate(answers)), HOSTS[: len(answers)]) == (ranks, words)


def test_ranks_that_were_not_asked_are_not_accused() -> None:
    assert find_late_ranks({0: STEP}, HOSTS) == (
        [],
        "all ranks of a are at the same position (at 7), those of b, c were not asked",
    )
    assert find_late_ranks({1: STEP}, ["a", "a"]) == ([], "rank 1 of 2 on a is at 7, the others could not be asked")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that plays another rank."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def members(other: subprocess.Popen[bytes], host: str | None = None) -> list[Member]:
    this = Member.this_process()
    assert this.start_time == start_time(os.getpid())
    return [this, Member(host or this.host, other.pid, start_time(other.pid))]


def start_time(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]


def two(directory: Path, other: subprocess.Popen[bytes], host: str | None = None) -> list[RollCall]:
    made = [RollCall(directory, "job", rank, members(other, host), (0, 1)) for rank in (0, 1)]
    for one in made:
        one.create_files()
    return made


def test_a_called_rank_answers(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    here, there = two(tmp_path, other)
    assert not there.is_called
    here.call()
    assert here.report("stuck", (0, 1, 2), "in a step")
    assert there.is_called
    assert here.answers() is None  # it has not answered yet
    there.report("working", (0, 1, 3), "compiling")
    answers = here.answers()
    assert answers
    assert answers[1] == Report("working", [0, 1, 3], "compiling", 1)  # type: ignore[arg-type]
    here.withdraw()
    assert not there.is_called


def test_a_report_of_an_earlier_roll_call_does_not_count(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    here, there = two(tmp_path, other)
    there.report("stuck", (0, 0, 0), "a while ago")
    here.call()
    here.report("stuck", (0, 0, 0), "now")
    assert here.answers() is None
    there.report("stuck", (0, 0, 0), "now")
    assert here.answers()


def test_a_rank_that_died_after_its_answer_does_not_keep_others_waiting(
    tmp_path: Path, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    here, there = two(tmp_path, other, host="elsewhere")
    here.call()
    here.report("stuck", (0, 0, 0), "now")
    there.report("working", (0, 0, 0), "now")
    for second in range(60):  # as long as it says something new it lives
        now += ANSWER_SECONDS / 2
        here.report("stuck", (0, 0, 0), "now")
        there.report("working", (0, 0, second), "now")
        answers = here.answers()
        assert answers
        assert answers[1]
    here.report("stuck", (0, 0, 0), "now")
    assert here.answers()
    now += ANSWER_SECONDS + 0.1
    here.report("stuck", (0, 0, 0), "now")
    answers = here.answers()
    assert answers
    assert answers[1] is None


def test_what_was_answered_before_a_call_was_withdrawn_does_not_count(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    here, there = two(tmp_path, other)
    here.call()
    here.report("stuck", (0, 0, 0), "now")
    there.report("working", (0, 0, 0), "at first")
    assert here.answers()
    here.withdraw()
    here.call()
    here.report("stuck", (0, 0, 1), "later")
    assert here.answers() is None


@pytest.mark.parametrize("state", ["failed", "ending"])
def test_the_last_report_of_a_rank_stays_its_answer(tmp_path: Path, other: subprocess.Popen[bytes], state: Any) -> None:
    here, there = two(tmp_path, other)
    there.report(state, (0, 0, 0), "before the call")
    other.kill()
    other.wait()
    here.call()
    here.report("stuck", (0, 0, 0), "now")
    answers = here.answers()
    assert answers
    assert answers[1] == Report(state, [0, 0, 0], "before the call", 1)  # type: ignore[arg-type]


def test_ranks_of_all_hosts_share_files_that_are_there_before_a_call(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    everyone = members(other, host="elsewhere")
    alone = [RollCall(tmp_path / f"of host {rank}", "job", rank, everyone, (rank,)) for rank in (0, 1)]
    shared = tmp_path / "logs" / "roll-call"
    here, there = [each.in_directory(shared) for each in alone]
    assert sorted(path.name for path in shared.iterdir()) == ["job-0.json", "job-1.json", "job-call"]
    here.call()
    assert there.is_called
    here.report("stuck", (0, 0, 0), "now")
    assert here.answers() is None  # not from the other host yet


def test_the_directory_is_made_when_it_is_needed(tmp_path: Path) -> None:
    roll_call = RollCall(tmp_path / "new" / "directory", "job", 0, [Member.this_process()], (0,))
    assert roll_call.report("stuck", (0, 0, 0), "now")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_rank_that_cannot_answer_is_not_waited_for(
    tmp_path: Path, other: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    here, _ = two(tmp_path, other)
    here.call()
    here.report("stuck", (0, 0, 0), "now")
    other.send_signal(number)
    while here.answers() is None:
        time.sleep(0.01)
    answers = here.answers()
    assert answers
    assert answers[1] is None
    here.kill([1])
    assert other.wait() == -signal.SIGKILL


def test_a_process_that_only_has_the_number_of_a_rank_is_left_alone(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    everyone = [members(other)[0], Member(members(other)[0].host, other.pid, "1")]
    RollCall(tmp_path, "job", 0, everyone, (0, 1)).kill([1])
    RollCall(tmp_path, "job", 0, members(other, host="elsewhere"), (0, 1)).kill([1])
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(1)


def test_what_is_not_known_to_have_ended_is_waited_for(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    this, known = members(other)
    for rank in (Member("elsewhere", known.process, "1"), Member(known.host, known.process, None)):
        roll_call = RollCall(tmp_path, "job", 0, [this, rank], (0, 1))
        roll_call.call()
        assert roll_call.report("stuck", (0, 0, 0), "now")
        assert roll_call.answers() is None


def test_a_rank_whose_number_another_process_has_is_not_waited_for(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    this, known = members(other)
    roll_call = RollCall(tmp_path, "job", 0, [this, Member(known.host, known.process, "1")], (0, 1))
    roll_call.call()
    assert roll_call.report("stuck", (0, 0, 0), "now")
    answers = roll_call.answers()
    assert answers
    assert answers[1] is None


def test_without_a_writable_directory_no_rank_is_called(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    (tmp_path / "file").touch()
    here, _ = two(tmp_path / "file", other)
    assert not here.report("stuck", (0, 0, 0), "now")
    assert not here.is_called


def test_a_report_that_is_half_written_is_read_again(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    here, there = two(tmp_path, other)
    here.call()
    here.report("stuck", (0, 0, 0), "now")
    there.report("stuck", (0, 0, 0), "now")
    [path] = tmp_path.glob("job-1*")
    whole = path.read_text()
    path.write_text(whole[:20])
    assert here.answers() is None
    path.write_text(json.dumps({"state": "stuck"}))
    assert here.answers() is None
    path.write_text(whole)
    assert here.answers()
