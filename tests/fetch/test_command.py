"""`shardtune fetch` as a person types it, in processes of its own."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shardtune.dataset.manifest import Manifest
from tests.download.archives import of_photographs, packed
from tests.download.server import Server, serving
from tests.faults.mounts import Fault, Mounter, Options
from tests.launching import ENVIRONMENT, finish, run, shardtune, start

CHECKPOINT = random.Random(0).randbytes(100_000)
WEIGHTS = packed(("inception-v3/model.ckpt-157585", CHECKPOINT), ("inception-v3/checkpoint", b"state"))
WHOLE = {
    ".fetch.lock": b"",
    "inception-v3-2016-03-01.tar.gz": WEIGHTS,
    "inception-v3/model.ckpt-157585": CHECKPOINT,
    "inception-v3/checkpoint": b"state",
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return of_photographs(tmp_path_factory.mktemp("photographs") / "flower_photos")


@pytest.fixture
def server(photographs: bytes) -> Iterator[Server]:
    with serving(photographs) as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "XDG_CACHE_HOME", str(tmp_path / "cache"))


def flowers(directory: Path, server: Server, url: str = "") -> list[str]:
    digest = hashlib.sha256(server.content).hexdigest()
    words = ("fetch", "flowers", directory, "--url", url or server.url(), "--sha256", digest, "--validation_examples", 7)
    return [sys.executable, "-m", "shardtune", *map(str, words)]


def inception(directory: Path, server: Server) -> list[str]:
    return [sys.executable, "-m", "shardtune", "fetch", "inception-v3", str(directory), "--url", server.url()]


def ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    return run(command, launcher="alone", ranks=1, timeout=240)


@pytest.mark.parametrize(("launcher", "ranks"), [("alone", 1), ("mpirun", 2)])
def test_flowers_are_a_data_set(server: Server, tmp_path: Path, launcher: str, ranks: int) -> None:
    data = tmp_path / "data"
    done = run(flowers(data, server), launcher=launcher, ranks=ranks, timeout=240)
    assert done.returncode == 0, done.stdout
    manifest = Manifest.load(data)
    assert {split: manifest.examples(split) for split in ("train", "validation")} == {"train": 23, "validation": 7}
    assert sorted(path.name for path in data.glob("*-of-*")) == [
        *("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00002", "validation-00001-of-00002")
    ]
    assert manifest.labels == ["blue", "green", "red"]
    assert (data / "raw-data" / "flower_photos" / "LICENSE.txt").read_text() == "Of each photograph."
    assert "Verified 30 examples" in shardtune("verify", data)
    again = run(flowers(data, server), launcher=launcher, ranks=ranks, timeout=240)
    assert again.returncode == 0
    assert "was finished before: nothing to do." in again.stdout
    assert len(server.ranges) == 1


def test_an_archive_that_is_there_already(server: Server, photographs: bytes, tmp_path: Path) -> None:
    (tmp_path / "there.tgz").write_bytes(photographs)
    done = ended(flowers(tmp_path / "data", server, url=str(tmp_path / "there.tgz")))
    assert done.returncode == 0, done.stdout
    assert server.ranges == []
    assert "Verified 30 examples" in shardtune("verify", tmp_path / "data")


def test_the_path_of_the_weights_is_printed_last(tmp_path: Path) -> None:
    with serving(WEIGHTS) as server:
        for _ in range(2):
            done = ended(inception(tmp_path / "to", server))
            assert done.returncode == 0, done.stdout
            assert done.stdout.splitlines()[-1] == f"{tmp_path}/to/inception-v3/model.ckpt-157585"
        assert len(server.ranges) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["flowers"], 2, "Missing from shardtune fetch: PATH"),
        (["roses", "d"], 2, "roses"),
        (["flowers", "d", "--source", "keras"], 2, "--source keras is a source of inception-v3, not of flowers."),
        (["flowers", "d", "--sha256", "abc"], 2, "--sha256 must have 64 digits, not abc."),
        (["flowers", "d", "--validation_examples", "0"], 2, "--validation_examples must be at least 1, not 0."),
        (["flowers", "{here}/d", "--url", "{here}/none"], 1, "{here}/none cannot be read (No such file or directory)."),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path: Path, arguments: list[str], status: int, message: str) -> None:
    words = [word.format(here=tmp_path) for word in arguments]
    done = ended([sys.executable, "-m", "shardtune", "fetch", *words])
    assert done.returncode == status
    assert message.format(here=tmp_path) in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout


def test_names_in_a_malicious_archive_are_escaped(tmp_path: Path) -> None:
    with serving(packed(("flower_photos/\x1b[2J", b"x"))) as server:
        done = ended(flowers(tmp_path, server))
    assert done.returncode == 1
    assert "\\x1b[2J" in done.stdout
    assert "\x1b" not in done.stdout


def test_two_at_once_download_once(tmp_path: Path, server: Server) -> None:
    server.is_halted = True
    first = start(flowers(tmp_path / "data", server))
    assert server.half_sent.wait(120)
    second = start(flowers(tmp_path / "data", server))
    while not has_open(second, ".fetch.lock"):
        assert second.poll() is None
        time.sleep(0.01)
    server.is_halted = False
    server.resumes.set()
    for process in (first, second):
        done = finish(process, 240)
        assert done.returncode == 0, done.stdout
    assert len(server.ranges) == 1
    assert "Verified 30 examples" in shardtune("verify", tmp_path / "data")


def has_open(process: subprocess.Popen[str], name: str) -> bool:
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the process has closed it meanwhile
            if link.readlink().name == name:
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_fetch_that_is_stopped_begins_again(tmp_path: Path, server: Server, number: int) -> None:
    server.is_halted = True
    stopped = start(flowers(tmp_path / "data", server))
    assert server.half_sent.wait(120)
    stopped.send_signal(number)
    done = finish(stopped, 60)
    assert done.returncode == (-number if number == signal.SIGKILL else 75)
    assert not (tmp_path / "data" / "flower_photos.tgz").exists()
    if number != signal.SIGKILL:
        assert [path.name for path in (tmp_path / "data").iterdir()] == [".fetch.lock"]
    server.is_halted = False
    server.resumes.set()
    again = ended(flowers(tmp_path / "data", server))
    assert again.returncode == 0, again.stdout
    assert "Verified 30 examples" in shardtune("verify", tmp_path / "data")


@pytest.mark.parametrize("write", range(1, 6))  # of the archive, two files, the receipt
def test_a_full_disk_is_said_and_leaves_nothing_that_counts_as_whole(
    tmp_path: Path, hostile_directory: Mounter, write: int
) -> None:
    data = hostile_directory(tmp_path / "backing", Options(flock="works", fail=Fault("write", "*", write, "ENOSPC")))
    with serving(WEIGHTS) as server:
        done = ended(inception(data, server))
        assert done.returncode == 1, done.stdout
        assert done.stdout.splitlines()[-1].endswith(
            "cannot be read or written (No space left on device). Fix that and run the command again."
        )
        left = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
        assert left.items() <= WHOLE.items()
        done = ended(inception(data, server))
        assert done.returncode == 0, done.stdout
    assert (data / "inception-v3" / "model.ckpt-157585").read_bytes() == CHECKPOINT
