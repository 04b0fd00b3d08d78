"""Mounts of the hostile file system (see hostile.py), and commands on two hosts that are one machine."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ctypes.util import find_library
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

DELAYED = "delayed "  # in a log, before a call whose delay is over
FAILED = "failed "  # in a log, before a call that has failed
THREADS = 40  # that serve calls, at least as many as a process waits with
CRASH = ".crash"  # who makes this folder in a mount lets the machine that keeps the files crash


@dataclass(frozen=True)
class Fault:
    """A call that fails, once.

    Attributes:
        call: its kind, as in a log, or a pattern of kinds.
        path: a pattern of its path in the mount, which begins with a slash.
        number: which of the calls that match, from 1 on.
        error: the name of the error that it gives.
    """

    call: str
    path: str
    number: int
    error: str

    def __str__(self) -> str:
        return f"{self.call}:{self.path}:{self.number}:{self.error}"


@dataclass(frozen=True)
class Options:
    """What the file system does.

    Attributes:
        flock: "works" for all hosts, "local" to each mount, or the name of the error that it gives.
        sync_directory: the name of the error that fsync of a directory gives, or nothing.
        late: seconds for which the kernel keeps names, their absence, and attributes.
        fail: the call that fails; None: none.
        garble: what is in the paths of files of which the first byte is stored as another, without an error; nothing: none.
        short: bytes that a write takes at most; 0: all.
        crash: whether it forgets at CRASH what was not synced. Folders are synced as they are made.
        delay: seconds that each open of a file takes, each read, and each look at its status.
    """

    flock: str = "ENOSYS"
    sync_directory: str = ""
    late: float = 0.0
    fail: Fault | None = None
    garble: str = ""
    short: int = 0
    crash: bool = False
    delay: float = 0.0


Mounter = Callable[[Path, Options], Path]


def why_not() -> str:
    """What is missing for FUSE here; nothing if it works."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs /dev/fuse"
    if not shutil.which("fusermount3") or not find_library("fuse3"):
        return "needs the package fuse3"
    return "" if importlib.util.find_spec("mfusepy") else "needs mfusepy"


@contextmanager
def mounted(backing: Path, mountpoint: Path, options: Options) -> Iterator[Path]:
    """`backing` through the hostile file system, which logs its calls beside the mount point."""
    mountpoint.mkdir()
    log = log_of(mountpoint)
    words = [sys.executable, "-m", "tests.faults.hostile", backing, mountpoint, log, json.dumps(asdict(options))]
    errors = mountpoint.with_name(f"{mountpoint.name}.errors")
    with errors.open("w") as stderr:
        daemon = subprocess.Popen(words, start_new_session=True, cwd=Path(__file__).parents[2], stderr=stderr)
    try:
        while not mountpoint.is_mount():  # if it never is, the limit on a test ends this
            if daemon.poll() is not None:
                said = errors.read_text()
                if "not permitted" in said or "Permission denied" in said:
                    pytest.skip("needs the right to mount a file system with FUSE")
                raise RuntimeError(f"the file system has ended:\n{said}")
            time.sleep(0.01)
        yield mountpoint
    finally:
        subprocess.run(["fusermount3", "-u", "-z", mountpoint], check=False, capture_output=True)
        with suppress(subprocess.TimeoutExpired):
            daemon.wait(2)
        daemon.kill()
        daemon.wait()


def log_of(mountpoint: Path) -> Path:
    """The log of a mount's calls, "kind path" each; of looks at the status of a file only with a delay."""
    return mountpoint.with_name(f"{mountpoint.name}.log")


def failed_call(mountpoint: Path) -> str:
    """Of a mount with a fault: "kind path" of the call that has failed; nothing before."""
    lines = log_of(mountpoint).read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix(FAILED) for line in lines if line.startswith(FAILED)), "")


def most_in_flight(mountpoint: Path, kind: str) -> int:
    """Of a mount with a delay: how many calls of a kind waited at the same time at most."""
    waiting = most = 0
    for line in log_of(mountpoint).read_text(encoding="utf-8").splitlines():
        waiting += line.startswith(f"{kind} ") - line.startswith(f"{DELAYED}{kind} ")
        most = max(most, waiting)
    return most


@pytest.fixture
def hostile_directory(tmp_path: Path) -> Iterator[Mounter]:
    """Mounts a folder, or a second time, under a path of its own: `hostile_directory(backing, Options(…))`."""
    if missing := why_not():
        pytest.skip(missing)
    with ExitStack() as stack:

        def mount(backing: Path, options: Options) -> Path:
            backing.mkdir(exist_ok=True)
            number = len(list(tmp_path.glob("mount-*.log")))
            return stack.enter_context(mounted(backing, tmp_path / f"mount-{number}", options))

        yield mount


def on_host(name: str) -> list[str]:
    """What to put before a command, so that it runs on a host of this name, with processes of its own.

    To end all of them, kill the first one.
    """
    namespaces = ["unshare", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
    return [*namespaces, "sh", "-c", f'hostname {name} && exec "$@"', "sh"]


def has_hosts() -> bool:
    return subprocess.run([*on_host("a"), "true"], capture_output=True, check=False).returncode == 0
