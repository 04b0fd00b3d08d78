"""A build that is killed, stopped, or gets in another's way: it ends, spoils nothing, and the next one goes on."""

import contextlib
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import tensorflow as tf

from shardtune.dataset.manifest import MANIFEST_NAME
from tests.faults.injector import Injector, calls, reads
from tests.faults.reference import Reference, identities
from tests.launching import finish, run, start
from tests.records import contents, fields

RANKS = 3
HALT_AT = 80  # calls: preparing takes 18, a shard of 17 images 24 or more
IN_CI = 6  # each number of ranks goes on twice
AT_ONCE = {"OMPI_MCA_odls_base_sigkill_timeout": "0"}  # mpirun gives the other ranks no 2 seconds to leave by themselves
CASES = [pytest.param(seed, marks=[pytest.mark.exhaustive] * (seed >= IN_CI)) for seed in range(100)]


@pytest.fixture(scope="module")
def changes(slow: Reference, injector: Injector, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls of an undisturbed job change files: a clock that goes with the job however busy the machine is."""
    directory = tmp_path_factory.mktemp("undisturbed")
    output, log = directory / "data", directory / "log"
    run(slow.command(output), launcher="mpirun", ranks=RANKS, timeout=60, environment=injector.environment(output, log))
    assert contents(output) == slow.files
    return len(calls(log))


@pytest.fixture(scope="module")
def images(slow: Reference, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The source files of each shard, as its records tell."""
    path = tmp_path_factory.mktemp("shards")
    found = {}
    for name in (name for name in slow.files if name.startswith("train-")):
        (path / name).write_bytes(slow.files[name])
        records = tf.data.TFRecordDataset(str(path / name)).as_numpy_iterator()
        found[name] = [str(slow.images / fields(record)["image/path"].decode()) for record in records]
    return found


@pytest.mark.parametrize("seed", CASES)
def test_a_killed_rank_ends_all_and_the_next_build_goes_on(
    slow: Reference, injector: Injector, images: dict[str, list[str]], changes: int, tmp_path: Path, seed: int
) -> None:
    generator, output = random.Random(seed), tmp_path / "data"
    log, log_again = tmp_path / "log", tmp_path / "log-again"
    clock = {**injector.environment(output, log), **injector.slow(slow.images, 5000), **AT_ONCE}  # slow: it reads ahead
    job = start(slow.command(output), launcher="mpirun", ranks=RANKS, environment=clock)
    moment = generator.randrange(changes)
    while len(calls(log)) <= moment and job.poll() is None:
        time.sleep(0.002)
    ranks = [] if job.poll() is not None else psutil.Process(job.pid).children()
    with contextlib.suppress(IndexError, psutil.NoSuchProcess):  # it may have left, having done all
        ranks[generator.randrange(RANKS)].kill()
    done = finish(job, timeout=30)
    assert done.returncode or (output / MANIFEST_NAME).exists(), done.stdout
    assert not psutil.wait_procs(ranks, timeout=30)[1]
    assert "Traceback" not in done.stdout

    kept = slow.finished_shards(output)
    again = 1 + seed % RANKS
    watch = injector.environment(slow.images, log_again)
    done = run(slow.command(output), launcher="mpirun", ranks=again, timeout=60, environment=watch)
    assert done.returncode == 0, done.stdout
    assert contents(output) == slow.files
    assert identities(output, kept) == kept
    # Each image of the other shards is read once, and none of those that were finished.
    assert sorted(reads(log_again)) == sorted(path for name in images.keys() - kept.keys() for path in images[name])


def halted(
    slow: Reference, injector: Injector, directory: Path, *, by: int = 0, launcher: str = "alone", ranks: int = 1
) -> subprocess.Popen[str]:
    """A job into directory/data whose rank 0, when it has finished a shard and has others to write, waits for a signal."""
    log, rank = directory / "log", 0 if launcher == "mpirun" else None
    halt = injector.environment(directory / "data", log, at=HALT_AT, error=by, rank=rank) | injector.slow(slow.images, 5000)
    job = start(slow.command(directory / "data"), launcher=launcher, ranks=ranks, environment=halt)
    while len(calls(log)) < HALT_AT:
        assert job.poll() is None, job.communicate()
        time.sleep(0.01)
    return job


def test_a_killed_rank_is_named(slow: Reference, injector: Injector, tmp_path: Path) -> None:
    kill = injector.environment(tmp_path / "data", tmp_path / "log", at=HALT_AT, error=-signal.SIGKILL, rank=1)
    done = run(slow.command(tmp_path / "data"), launcher="mpirun", ranks=2, timeout=30, environment=kill)
    assert done.returncode == 128 + signal.SIGKILL
    assert "Traceback" not in done.stdout
    assert re.search(r"process rank 1 with PID \d+ on node \S+ exited on signal 9", done.stdout)
    assert re.search(r"^rank 1 of 2 on \S+ was at [ab]/\d\d\d.jpg \d+ s ago$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("launcher", "ranks", "status"), [("alone", 1, 75), ("mpirun", 2, None)])
def test_a_build_that_is_told_to_stop_can_be_gone_on_with(
    slow: Reference,
    injector: Injector,
    tmp_path: Path,
    number: signal.Signals,
    launcher: str,
    ranks: int,
    status: int | None,
) -> None:
    output = tmp_path / "data"
    job = halted(slow, injector, tmp_path, launcher=launcher, ranks=ranks)
    job.send_signal(number)
    done = finish(job, timeout=30)
    assert done.returncode == status or (status is None and done.returncode)
    assert "Traceback" not in done.stdout
    assert "shardtune: Stopped by a signal. The same command resumes from what is finished." in done.stdout.splitlines()
    kept = slow.finished_shards(output)
    assert kept
    assert not (output / MANIFEST_NAME).exists()
    slow.build_again(output)
    assert contents(output) == slow.files
    assert identities(output, kept) == kept


def test_a_second_build_into_one_directory_is_refused(slow: Reference, injector: Injector, tmp_path: Path) -> None:
    output = tmp_path / "data"
    first = halted(slow, injector, tmp_path, by=-signal.SIGSTOP)
    second = run(slow.command(output), launcher="alone", ranks=1, timeout=30)
    assert second.returncode == 1
    [complaint] = second.stdout.splitlines()
    assert re.match(rf"shardtune: The directory {output}\S* is in use by process {first.pid} on ", complaint)
    first.send_signal(signal.SIGCONT)
    assert finish(first, timeout=60).returncode == 0
    assert contents(output) == slow.files


def test_a_directory_that_ranks_do_not_share_is_an_error(small: Reference, tmp_path: Path) -> None:
    # One path, but not one place: that of each rank lies below its own working directory.
    commands = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        commands += [":", "-n", "1", "-wdir", str(tmp_path / name), *small.command(Path("data"))]
    done = run(["mpirun", *commands[1:]], launcher="alone", ranks=1, timeout=60)
    assert done.returncode == 1
    [error] = [line for line in done.stdout.splitlines() if line.startswith("shardtune: ")]
    assert re.match(r"shardtune: rank 1 of 2 on \S+ does not see what rank 0 writes into data", error)
    assert not list(tmp_path.glob("*/data/train-*"))


def test_ranks_that_have_no_shard_are_announced(small: Reference, tmp_path: Path) -> None:
    line = (
        "1 of 5 ranks have no shard to write, because there are 4 shards: start at most 4 ranks, or choose --train_shards 5 "
        "or more."
    )
    for flags in (["--dry_run"], []):
        done = run([*small.command(tmp_path), *flags], launcher="mpirun", ranks=5, timeout=60)
        assert done.returncode == 0
        assert done.stdout.splitlines().count(line) == 1
    assert contents(tmp_path) == small.files
