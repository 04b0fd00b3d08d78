"""A build whose writes fail, or that is killed at one: it says so, spoils nothing, and the next one goes on."""

import errno
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.builder.receipts import RECEIPTS_NAME
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.inspect.config import VerifyConfig
from shardtune.inspect.verify import verify
from shardtune.runtime.lease import HELD_NAME, SWEPT
from shardtune.runtime.world import World
from tests.faults.injector import Injector, calls
from tests.faults.reference import Reference, identities
from tests.launching import run
from tests.records import contents

FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "SIGKILL": -signal.SIGKILL}
CASES_IN_CI = 10


@pytest.fixture(scope="module")
def undisturbed(small: Reference, injector: Injector, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The calls of a build that may fail: "call path", the path relative to the output directory."""
    directory = tmp_path_factory.mktemp("count")
    output, log = directory / "data", directory / "log"
    run(small.command(output), launcher="alone", ranks=1, timeout=60, environment=injector.environment(output, log))
    assert contents(output) == small.files
    return calls(log)


def test_content_is_on_disk_before_it_gets_its_name_and_the_name_after(undisturbed: list[str]) -> None:
    renames = [(at, Path(call.removeprefix("rename "))) for at, call in enumerate(undisturbed) if call.startswith("rename ")]
    # Receipts may be lost; folders of the lease hold nothing to keep.
    named = [
        at for at, path in renames if path.parent.name != RECEIPTS_NAME and path.name != HELD_NAME and SWEPT not in path.name
    ]
    assert len(named) >= 4 + 5  # shards, and the files beside them
    for at in named:
        directory = undisturbed[at].removeprefix("rename ").rpartition("/")[0]
        assert undisturbed[at - 1].startswith(f"fsync {directory}/")
        assert undisturbed[at + 1] == f"fsync {directory}"


def require_survived(small: Reference, injector: Injector, directory: Path, fault: int, numbers: Iterable[int]) -> None:
    """Disturb a build at each of these calls, check what it leaves and says, and let another one finish it."""
    for number in numbers:
        output, log = directory / str(number), directory / f"log-{number}"
        # Images on slow storage are read ahead.
        faults = injector.environment(output, log, at=number, error=fault) | injector.slow(small.images, 2000)
        done = run(small.command(output), launcher="alone", ranks=1, timeout=60, environment=faults)
        disturbed = calls(log)[number - 1]
        try:
            require_said(done, fault, disturbed.split(" ", 1)[1], complete=(output / MANIFEST_NAME).exists())
            kept = small.finished_shards(output)
            small.build_again(output)
            assert contents(output) == small.files
            assert identities(output, kept) == kept
        except Exception as error:
            raise AssertionError(f"call {number}, {disturbed}: {error}\n{done.stdout}") from error


def require_said(done: subprocess.CompletedProcess[str], fault: int, path: str, *, complete: bool) -> None:
    """The status and words of a build that was disturbed at a call on `path`."""
    assert "Traceback" not in done.stdout
    complaints = [line for line in done.stdout.splitlines() if line.startswith("shardtune: ")]
    if fault < 0:
        assert (done.returncode, complaints) == (fault, [])
    elif done.returncode == 0:
        assert complete, "it says that all went well"
    else:
        assert done.returncode == 1
        [complaint] = complaints
        assert final_name(path) in complaint
        assert f" ({os.strerror(fault)}). " in complaint


def final_name(path: str) -> str:
    """The name that a file is to have, from the one that it is written under."""
    return re.sub(r"^\.(.+)\.[0-9a-f]{16}\.tmp$", r"\1", Path(path).name)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_build_survives_a_fault(
    small: Reference, injector: Injector, undisturbed: list[str], tmp_path: Path, fault: str
) -> None:
    # Spread over all calls, other ones for each fault.
    step, first = len(undisturbed) // CASES_IN_CI, 1 + list(FAULTS).index(fault)
    require_survived(small, injector, tmp_path, FAULTS[fault], range(first, len(undisturbed) + 1, step))


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", FAULTS)
def test_a_build_survives_a_fault_at_every_call(
    small: Reference, injector: Injector, undisturbed: list[str], tmp_path: Path, fault: str
) -> None:
    require_survived(small, injector, tmp_path, FAULTS[fault], range(1, len(undisturbed) + 1))


# Rank 1 makes a temporary file of a shard, writes it, flushes it, gives it its name.
@pytest.mark.parametrize(("fault", "call"), [("ENOSPC", "write"), ("EIO", "rename")])
def test_a_fault_on_one_rank_ends_all_and_is_told(
    small: Reference, injector: Injector, tmp_path: Path, fault: str, call: str
) -> None:
    undisturbed, log, output = tmp_path / "undisturbed", tmp_path / "log", tmp_path / "data"
    counted = injector.environment(undisturbed, log, rank=1)
    run(small.command(undisturbed), launcher="mpirun", ranks=2, timeout=60, environment=counted)
    of_shard = re.compile(rf"{call} .*/\.?(train|validation)-\d")
    number = next(number for number, made in enumerate(calls(log), start=1) if of_shard.match(made))
    log.unlink()
    faults = injector.environment(output, log, at=number, error=FAULTS[fault], rank=1)
    done = run(small.command(output), launcher="mpirun", ranks=2, timeout=60, environment=faults)
    disturbed = calls(log)[number - 1]
    assert (done.returncode, disturbed.split()[0]) == (1, call), done.stdout
    assert "Traceback" not in done.stdout
    pattern = rf"^shardtune: rank 1 of 2 on \S+: {output}/\.?(train|validation)-\S+ .*\({os.strerror(FAULTS[fault])}\)\. "
    assert len(re.findall(pattern, done.stdout, re.MULTILINE)) == 1, done.stdout
    kept = small.finished_shards(output)
    small.build_again(output)
    assert contents(output) == small.files
    assert identities(output, kept) == kept


def test_a_build_over_a_data_set_leaves_the_old_one_whole_or_no_manifest(
    small: Reference, injector: Injector, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    build(BuildConfig(small.images, output_directory=old, **{**small.options, "seed": 1}), World())

    def build_over(output: Path, *, at: int | None = None) -> tuple[int, list[str]]:
        """Status and calls of a build that is killed at a call."""
        log = tmp_path / f"log-{at}"
        kill = injector.environment(output, log, at=at, error=-signal.SIGKILL)
        done = run([*small.command(output), "--overwrite"], launcher="alone", ranks=1, timeout=60, environment=kill)
        return done.returncode, calls(log)

    shutil.copytree(old, tmp_path / "data")
    status, made = build_over(tmp_path / "data")
    assert (status, contents(tmp_path / "data")) == (0, small.files)
    removals = [n for n, call in enumerate(made, 1) if re.fullmatch(r"unlink .*/(dataset\.json|[a-z]+-\d+-of-\d+)", call)]
    assert len(removals) == 1 + sum("-of-" in name for name in small.files)
    whole = []
    for number in (removals[0], removals[1], removals[-1]):
        output = tmp_path / str(number)
        shutil.copytree(old, output)
        assert build_over(output, at=number)[0] == -signal.SIGKILL
        whole.append((output / MANIFEST_NAME).exists())
        if whole[-1]:
            verify(VerifyConfig(output), World())
        assert build_over(output)[0] == 0
        assert contents(output) == small.files
    assert whole[0]  # nothing was removed yet


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB, where this may be made."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield directory
    subprocess.run(["umount", directory], check=True)


@pytest.mark.parametrize(("launcher", "ranks"), [("alone", 1), ("mpirun", 2)])
def test_a_full_disk_is_told_and_a_larger_one_helps(slow: Reference, disk: Path, launcher: str, ranks: int) -> None:
    output = disk / "data"
    done = run(slow.command(output), launcher=launcher, ranks=ranks, timeout=30)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    complaints = [line for line in done.stdout.splitlines() if line.startswith("shardtune: ")]
    full = [complaint for complaint in complaints if "No space left on device" in complaint and str(output) in complaint]
    assert 1 <= len(full) <= ranks  # both ranks may come to the end of it at once, or the launcher stops the other one
    assert all("Stopped by a signal" in complaint for complaint in complaints if complaint not in full)
    kept = slow.finished_shards(output)
    assert kept
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    slow.build_again(output)
    assert contents(output) == slow.files
    assert identities(output, kept) == kept
