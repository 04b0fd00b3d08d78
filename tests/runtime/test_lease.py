import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from shardtune.errors import WorldError
from shardtune.runtime import lease
from shardtune.runtime.files import write_json
from shardtune.runtime.lease import CLAIM, HEARTBEAT_NAME, HELD_NAME, SWEPT
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.owner import OWNER_NAME, Owner
from shardtune.runtime.world import World
from tests.faults.mounts import Fault, Mounter, Options, failed_call, has_hosts, on_host

LOCKS = ["works", "local", "ENOSYS", "ENOLCK", "EOPNOTSUPP"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner on another machine is gone after a second."""
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)


@contextmanager
def holding(directory: Path, *, host: str = "", beat: float = 0.1, stale: float = 1.0) -> Iterator[subprocess.Popen[str]]:
    """A process that holds `directory`, on another host where one is named."""
    words = [sys.executable, "-m", "tests.faults.holder", str(directory), str(beat), str(stale)]
    command = [*(on_host(host) if host else []), *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes, text=True) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "held\n", process.communicate()
            yield process
        finally:
            process.kill()
            process.wait()  # before its input is closed, at which a holder that is not dead yet would end


@pytest.fixture(scope="module")
def hosts() -> None:
    if not has_hosts():
        pytest.skip("needs the right to make namespaces")


@pytest.mark.parametrize("flock", LOCKS)
def test_a_directory_is_held_by_one_whatever_the_file_system_knows_of_locks(
    hostile_directory: Mounter, tmp_path: Path, flock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = hostile_directory(tmp_path / "backing", Options(flock))
    with holding(mount / "run") as other:
        with (
            pytest.raises(WorldError, match=rf"{mount}/run is in use by process {other.pid} on \S+\. Wait"),
            exclusive_directory(mount / "run", World()),
        ):
            pass
        other.communicate("")
    with exclusive_directory(mount / "run", World()):
        pass
    with holding(mount / "run") as other:
        other.kill()
        other.wait()
    with exclusive_directory(mount / "run", World()):  # at once: that a process of this machine has ended is certain
        assert len(list((mount / "run" / HELD_NAME).iterdir())) == 1
    assert sorted(path.name for path in (mount / "run").iterdir()) == ["lock", "written.json"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("flock", ["local", "ENOSYS"])
def test_a_job_on_another_host_is_seen(
    hosts: None, hostile_directory: Mounter, tmp_path: Path, quick: None, flock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = (hostile_directory(tmp_path / "backing", Options(flock, late=1.0)) for _ in range(2))
    with holding(there / "run", host="elsewhere") as other:
        refusal = rf"{here}/run is in use by process \d+ on elsewhere\. Wait"
        with pytest.raises(WorldError, match=refusal), exclusive_directory(here / "run", World()):
            pass
        assert other.poll() is None
        waits = rf"{here}/run is in use by process \d+ on elsewhere: waiting at most 1 s for a sign of life\.\n"
        assert re.search(waits, capsys.readouterr().out)
        other.kill()
        other.wait()
        with exclusive_directory(here / "run", World()):
            pass
    takes_over = rf"Taking over {here}/run: process \d+ on elsewhere has shown no sign of life for 1 s\.\n"
    assert re.search(takes_over, capsys.readouterr().out)


def test_a_job_that_slept_for_too_long_can_do_no_harm(hosts: None, tmp_path: Path, quick: None) -> None:
    # Its heartbeats come too late to notice the loss, but what it writes fails all the same.
    with holding(tmp_path, host="elsewhere", beat=1000) as other:
        (tmp_path / "lock").unlink()  # as where locks do not reach other hosts
        with exclusive_directory(tmp_path, World()):
            write_json(tmp_path / "written.json", "by the second")
            output, _ = other.communicate("\n")
            assert other.returncode == 1
            assert re.search(rf"{tmp_path}/written.json was not finished, because another job has taken over", output)
            assert (tmp_path / "written.json").read_text() == '"by the second"\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "written.json"]


def test_a_job_that_wakes_up_after_another_took_over_ends(hosts: None, tmp_path: Path, quick: None) -> None:
    with holding(tmp_path, host="elsewhere") as other:
        [child] = subprocess.run(["pgrep", "-P", str(other.pid)], capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(["kill", "-STOP", child], check=True)
        (tmp_path / "lock").unlink()
        with exclusive_directory(tmp_path, World()):
            subprocess.run(["kill", "-CONT", child], check=True)
            assert other.wait(30) == 1
            assert re.search(rf"This job has lost {tmp_path} to process \d+ on \S+\. Check", other.stdout.read())


def test_one_of_many_holds_it_at_a_time(hostile_directory: Mounter, tmp_path: Path) -> None:
    mount = hostile_directory(tmp_path / "backing", Options("ENOSYS", late=0.5))
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.faults.contender", str(mount / "run"), str(log), "10"]
    contenders = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=120)[1] for process in contenders] == [""] * 4
    assert log.read_text() == "in\nout\n" * 40


def test_of_several_jobs_that_take_over_at_once_one_writes_at_a_time(
    hosts: None, hostile_directory: Mounter, tmp_path: Path
) -> None:
    # Each has a host and a mount of its own, so that only heartbeats count, and all find the owner dead at the same time.
    backing = tmp_path / "backing"
    mounts = [hostile_directory(backing, Options("local", late=0.5)) for _ in range(3)]
    with holding(mounts[0] / "run", host="gone"):
        pass
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.faults.holder"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        takers = [
            stack.enter_context(
                subprocess.Popen([*on_host(f"h{n}"), *command, str(mount / "run"), "0.1", "1"], **pipes, text=True)  # type: ignore[call-overload]
            )
            for n, mount in enumerate(mounts)
        ]
        output = [taker.communicate("\n", timeout=60)[0] for taker in takers]
    # Who comes after the first has ended may have it, too.
    assert sum("Taking over" in text for text in output) >= 1
    for taker, text in zip(takers, output, strict=True):
        assert (taker.returncode == 0) == ("held\nwritten\n" in text), text
        assert taker.returncode == 0 or "is in use by" in text or "has lost" in text or "was not finished" in text, text


def test_a_job_that_failed_leaves_what_the_next_one_takes_at_once(hosts: None, tmp_path: Path) -> None:
    with holding(tmp_path, host="elsewhere") as other:
        (tmp_path / "written.json").mkdir()  # it cannot be replaced by a file
        other.communicate("\n")
        assert other.returncode == 1
    assert len(list((tmp_path / HELD_NAME).iterdir())) == 1
    with exclusive_directory(tmp_path, World()):
        pass


@pytest.mark.parametrize(("call", "path"), [("open", "*/beat"), ("write", "*/beat"), ("rename", "*/swept-*"), ("rmdir", "*")])
def test_a_lease_whose_release_fails_is_free(hostile_directory: Mounter, tmp_path: Path, call: str, path: str) -> None:
    # The second write of the heartbeat, and removal of `held`, are the release's.
    number = 2 if call == "write" or path == "*" else 1
    mount = hostile_directory(tmp_path / "backing", Options(fail=Fault(call, path, number, "EIO")))
    for _ in range(2):  # the second time it is the same process that had it before, and that still runs
        with exclusive_directory(mount, World()):
            pass
    assert failed_call(mount)


def test_folders_of_killed_jobs_are_removed(tmp_path: Path) -> None:
    for name in (f"{CLAIM}1/1", f"{SWEPT}2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    with exclusive_directory(tmp_path, World()):
        assert sorted(path.name for path in tmp_path.iterdir()) == [HELD_NAME, "lock"]


@pytest.mark.parametrize("content", ["", "{}", '{"version": 2}', "[1]", "\0", None])
@pytest.mark.parametrize("beat", [b"0000000000000000", None])
def test_a_lease_of_which_nothing_can_be_read_goes_stale(
    tmp_path: Path, quick: None, content: str | None, beat: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / HELD_NAME / "0123"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / OWNER_NAME).write_text(content)
    if beat:
        (folder / HEARTBEAT_NAME).write_bytes(beat)
    lease.STALE_SECONDS = 0.05
    with exclusive_directory(tmp_path, World()):
        assert not folder.exists()
    assert "another job has shown no sign of life" in capsys.readouterr().out


def test_an_owner_is_read_as_it_was_written(tmp_path: Path) -> None:
    with exclusive_directory(tmp_path, World()):
        [folder] = (tmp_path / HELD_NAME).iterdir()
        assert Owner.load(folder) == Owner.this_process()
        assert Owner.this_process().is_running is True


def test_a_number_that_another_process_got_is_not_the_owner(tmp_path: Path) -> None:
    here = Owner.this_process()
    assert Owner(here.process, "1", here.host, here.machine).is_running is False
    assert Owner(here.process, here.started, here.host, "another").is_running is None
    with subprocess.Popen(["sleep", "1000"]) as process:
        process.send_signal(signal.SIGKILL)
        process.returncode = None
        while (state := Path(f"/proc/{process.pid}/stat").read_text().split()[2]) != "Z":
            assert state != "Z"
        assert (
            Owner(process.pid, "1", here.host, here.machine).is_running is False
        )  # dead, though its parent has not waited for it
