"""A repair of a finished data set whose writes fail, or that is killed at one: the data set stays as it is, or gets better."""

import errno
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from shardtune.builder.receipts import RECEIPTS_NAME
from shardtune.dataset.manifest import WORK_NAME
from tests.faults.injector import Injector, calls
from tests.faults.reference import Reference
from tests.launching import run
from tests.records import contents

FAULTS = {"ENOSPC": errno.ENOSPC, "SIGKILL": -signal.SIGKILL}
CASES_IN_CI = 8
LOST, CUT, UNKNOWN = "train-00000-of-00003", "validation-00000-of-00001", "train-00002-of-00003"
BESIDE = ("labels.txt", "records.bin", "labels.bin", "duplicates.jsonl")


@pytest.fixture(scope="module")
def damaged(small: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished data set without a shard and other files, with half of another shard, and without the receipt of a third."""
    data = tmp_path_factory.mktemp("damaged") / "data"
    small.build_again(data)
    (data / CUT).write_bytes(small.files[CUT][: len(small.files[CUT]) // 2])
    for path in (data / LOST, *(data / name for name in BESIDE), data / WORK_NAME / RECEIPTS_NAME / f"{UNKNOWN}.json"):
        path.unlink()
    return data


@pytest.fixture(scope="module")
def undisturbed(small: Reference, damaged: Path, injector: Injector, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The calls of an undisturbed repair that may fail: "call path"."""
    directory = tmp_path_factory.mktemp("undisturbed")
    data, log = Path(shutil.copytree(damaged, directory / "data")), directory / "log"
    done = run(small.command(data), launcher="alone", ranks=1, timeout=60, environment=injector.environment(data, log))
    assert done.returncode == 0, done.stdout
    assert contents(data) == small.files
    return calls(log)


def test_each_shard_is_written_once(undisturbed: list[str]) -> None:
    made = [call.split("/")[-1] for call in undisturbed if call.startswith("create ") and ".json" not in call]
    assert [sum(name.startswith(f".{shard}.") for name in made) for shard in (LOST, CUT, UNKNOWN)] == [1, 1, 1]


def files_below(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}


def require_survived(
    small: Reference, damaged: Path, injector: Injector, directory: Path, fault: str, numbers: Iterable[int]
) -> None:
    """Disturb a repair at each of these calls, check what it leaves, and let another one finish it."""
    small.build_again(directory / "whole")
    expected, before = files_below(directory / "whole"), contents(damaged)
    for number in numbers:
        data, log = Path(shutil.copytree(damaged, directory / str(number))), directory / f"log-{number}"
        faults = injector.environment(data, log, at=number, error=FAULTS[fault])
        done = run(small.command(data), launcher="alone", ranks=1, timeout=60, environment=faults)
        disturbed = calls(log)[number - 1]
        try:
            assert "Traceback" not in done.stdout
            assert done.returncode in ({-signal.SIGKILL} if fault == "SIGKILL" else {0, 1})
            if done.returncode == 1:
                assert os.strerror(errno.ENOSPC) in done.stdout
                left = {name for name in files_below(data) - expected if name.endswith(".tmp") or "-of-" in name}
                assert not left, f"it left {left}"
            for name, content in contents(data).items():
                assert content in (small.files[name], before.get(name)), f"{name} is neither as it was nor as it should be"
            assert before.keys() <= contents(data).keys()
            small.build_again(data)
            assert contents(data) == small.files
            assert files_below(data) == expected
        except Exception as error:
            raise AssertionError(f"call {number}, {disturbed}: {error}\n{done.stdout}") from error


@pytest.mark.parametrize("fault", FAULTS)
def test_a_repair_survives_a_fault(
    small: Reference, damaged: Path, injector: Injector, undisturbed: list[str], tmp_path: Path, fault: str
) -> None:
    # Spread over all calls, other ones for each fault.
    step, first = len(undisturbed) // CASES_IN_CI, 1 + list(FAULTS).index(fault)
    require_survived(small, damaged, injector, tmp_path, fault, range(first, len(undisturbed) + 1, step))


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", FAULTS)
def test_a_repair_survives_a_fault_at_every_call(
    small: Reference, damaged: Path, injector: Injector, undisturbed: list[str], tmp_path: Path, fault: str
) -> None:
    require_survived(small, damaged, injector, tmp_path, fault, range(1, len(undisturbed) + 1))
