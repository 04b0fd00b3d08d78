"""Jobs on a file system without locks, or with those of each host, that tells late: they spoil nothing of each other's."""

import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.inspect.config import VerifyConfig
from shardtune.inspect.verify import verify
from shardtune.runtime.world import World
from tests.distributed import training
from tests.faults.mounts import CRASH, Mounter, Options, has_hosts, log_of, on_host
from tests.faults.reference import Reference
from tests.launching import finish, run, start
from tests.records import contents

CALLS = 300  # of the file system, in a build of `slow`: about; some moments lie after its end
IN_CI = 2
KILLS = [
    pytest.param(seed, marks=[pytest.mark.exhaustive, pytest.mark.timeout(600)] if seed >= IN_CI else ()) for seed in range(200)
]


def hasty(command: list[str]) -> list[str]:
    """The same, with leases that go stale within seconds."""
    [python, _, module, *arguments] = command
    return [python, "-m", "tests.faults.hasty", module, *arguments]


def test_a_second_build_is_refused_where_locks_are_of_each_host(
    slow: Reference, hostile_directory: Mounter, tmp_path: Path
) -> None:
    one, other = (hostile_directory(tmp_path / "backing", Options("local", late=1.0)) for _ in range(2))
    first = start(slow.command(one / "data"))
    wait_for(first, one, 60)
    first.send_signal(signal.SIGSTOP)
    second = run(slow.command(other / "data"), launcher="alone", ranks=1, timeout=60)
    assert second.returncode == 1
    assert re.search(rf"shardtune: The directory \S+ is in use by process {first.pid} on ", second.stdout)
    first.send_signal(signal.SIGCONT)
    done = finish(first, timeout=60)
    assert done.returncode == 0, done.stdout
    assert contents(tmp_path / "backing" / "data") == slow.files


@pytest.mark.parametrize("seed", KILLS)
def test_two_builds_at_once_that_are_killed_spoil_nothing(
    slow: Reference, hostile_directory: Mounter, tmp_path: Path, seed: int
) -> None:
    # On two hosts with a mount each, or on one with two ranks each. A job that was only halted goes on after another has
    # taken over. One more build must then end with the bytes of an undisturbed one.
    generator, backing = random.Random(seed), tmp_path / "backing"
    options = Options(generator.choice(["ENOSYS", "ENOLCK", "local"]), late=generator.choice([0.5, 1.0, 3.0]))
    mounts = [hostile_directory(backing, options) for _ in range(2)]
    apart = bool(seed % 3) and has_hosts()
    jobs = []
    for number, mount in enumerate(mounts):
        command = hasty(slow.command(mount / "data"))
        if apart:
            jobs.append(start([*on_host(f"host-{number}"), *command]))
        else:
            jobs.append(start(command, launcher="mpirun", ranks=2))
        wait_for(jobs[-1], mount, generator.randrange(CALLS))
    halted = disturb(jobs[0], generator, halt=generator.random() < 0.4)
    if generator.random() < 0.7:
        wait_for(jobs[1], mounts[1], generator.randrange(CALLS))
        disturb(jobs[1], generator, halt=False)
    second = finish(jobs[1], timeout=120)
    if halted:
        with suppress(psutil.NoSuchProcess):
            halted.resume()
    first = finish(jobs[0], timeout=120)
    for done in (first, second):
        assert not {"Traceback", "Unexpected"} & set(done.stdout.split()), done.stdout
        assert done.returncode or "Finished writing all" in done.stdout or "nothing to do" in done.stdout, done.stdout
    slow.finished_shards(backing / "data")  # what is there is right
    time.sleep(options.late)  # what this host believes of names is as old as that at most
    again = run(hasty(slow.command(mounts[0] / "data")), launcher="alone", ranks=1, timeout=120)
    assert again.returncode == 0, f"{first.stdout}\n{second.stdout}\n{again.stdout}"
    assert contents(backing / "data") == slow.files
    verify(VerifyConfig(backing / "data"), World())


def wait_for(job: subprocess.Popen[str], mount: Path, calls: int) -> None:
    """Until there were so many calls on a mount, or the job has ended."""
    while job.poll() is None and len(log_of(mount).read_bytes().splitlines()) < calls:
        time.sleep(0.005)


def disturb(job: subprocess.Popen[str], generator: random.Random, *, halt: bool) -> psutil.Process | None:
    """Kill a rank of a job, or halt it and return it; nothing if it has ended."""
    with suppress(psutil.NoSuchProcess):
        processes = psutil.Process(job.pid).children(recursive=True)
        ranks = [process for process in processes if "tests.faults.hasty" in process.cmdline()]
        if ranks:
            rank = generator.choice(ranks)
            (rank.suspend if halt else rank.kill)()
            return rank if halt else None
    return None


def test_a_shard_that_the_file_system_garbles_is_told(small: Reference, hostile_directory: Mounter, tmp_path: Path) -> None:
    output = hostile_directory(tmp_path / "backing", Options(garble="train-00001")) / "data"
    done = run(small.command(output), launcher="alone", ranks=1, timeout=60)
    assert done.returncode == 1
    assert f"shardtune: {output}/train-00001-of-00003 is not what this build wrote there. " in done.stdout
    assert not (output / MANIFEST_NAME).exists()


def test_a_shard_that_another_replaces_during_the_build_is_told(
    slow: Reference, hostile_directory: Mounter, tmp_path: Path
) -> None:
    mount = hostile_directory(tmp_path / "backing", Options())
    job, first = start(slow.command(mount / "data")), tmp_path / "backing" / "data" / "train-00000-of-00012"
    while not first.exists():
        assert job.poll() is None
        time.sleep(0.01)
    wait_for(job, mount, len(log_of(mount).read_bytes().splitlines()) + 20)
    other = first.with_name("other")
    other.write_bytes(bytes(first.stat().st_size))  # by a job that knows nothing of leases
    other.replace(first)
    done = finish(job, timeout=60)
    assert done.returncode == 1
    assert f"shardtune: {mount}/data/{first.name} is not what this build wrote there. " in done.stdout
    again = run(slow.command(mount / "data"), launcher="alone", ranks=1, timeout=60)
    assert again.returncode == 0, again.stdout
    assert contents(tmp_path / "backing" / "data") == slow.files


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.exhaustive] * (seed > 0)) for seed in range(20)])
def test_a_build_survives_a_crash_of_the_machine_that_keeps_its_files(
    slow: Reference, hostile_directory: Mounter, tmp_path: Path, seed: int
) -> None:
    backing = tmp_path / "backing"
    mount = hostile_directory(backing, Options(crash=True))
    job = start(slow.command(mount / "data"))
    wait_for(job, mount, random.Random(seed).randrange(20, CALLS))
    with suppress(OSError):
        (mount / CRASH).mkdir()
    job.kill()
    finish(job, timeout=30)
    slow.finished_shards(backing / "data")
    again = hostile_directory(backing, Options())
    # Whose lease it was may have been forgotten, too.
    done = run(hasty(slow.command(again / "data")), launcher="alone", ranks=1, timeout=60)
    assert done.returncode == 0, done.stdout
    assert contents(backing / "data") == slow.files


@pytest.mark.parametrize(
    ("over", "ranks", "kills"),
    [
        ("alone", 1, 1),
        pytest.param("mpi", 2, 1, marks=pytest.mark.exhaustive),
        pytest.param("alone", 1, 50, marks=[pytest.mark.exhaustive, pytest.mark.timeout(3600)]),
        pytest.param("mpi", 2, 25, marks=[pytest.mark.exhaustive, pytest.mark.timeout(3600)]),
        pytest.param("gloo", 2, 25, marks=[pytest.mark.exhaustive, pytest.mark.timeout(3600)]),
    ],
)
def test_training_that_is_killed_there_ends_with_the_same_bits(
    small_data: Path, hostile_directory: Mounter, tmp_path: Path, over: str, ranks: int, kills: int
) -> None:
    steps = 48 + 4 * kills
    flags = ("--deterministic", "--max_steps", steps, "--save_every", 5, "--batch_norm", "per_worker")
    training.train(small_data, tmp_path / "undisturbed", *flags, over=over, ranks=ranks)
    mount = hostile_directory(tmp_path / "backing", Options(late=1.0, sync_directory="EINVAL", short=100_000))
    run_, generator = mount / "run", random.Random(kills)
    for number in range(kills):
        with training.Disturbed(small_data, run_, *flags, over=over, ranks=ranks) as job:
            if job.wait_for_steps(generator.randrange(steps * number // kills, steps * (number + 1) // kills)):
                job.rank(generator.randrange(ranks)).send_signal(signal.SIGKILL)
            status, text = job.end(timeout=120)
        assert status != 0, text
    training.train(small_data, run_, *flags, over=over, ranks=ranks)
    assert training.outcome(run_)["outcome"] == "finished"
    assert training.digest(tmp_path / "backing" / "run") == training.digest(tmp_path / "undisturbed")
