import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shardtune.dataset.columns import load_record_index
from shardtune.dataset.manifest import Manifest
from shardtune.input.open_files import READS_IN_FLIGHT, OpenFiles, Request
from shardtune.input.reader import RecordReader
from tests.faults.mounts import Fault, Mounter, Options, failed_call, most_in_flight
from tests.input.shards import write
from tests.launching import ENVIRONMENT
from tests.records import records


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Files of 100 bytes; byte i of file n is (7 n + i) modulo 256."""
    found = [tmp_path / str(number) for number in range(3 * READS_IN_FLIGHT)]
    for number, path in enumerate(found):
        path.write_bytes(bytes((7 * number + i) % 256 for i in range(100)))
    return found


def test_reads_come_in_order_in_memory_and_not(paths: list[Path]) -> None:
    files, generator = OpenFiles(paths), np.random.default_rng(0)
    for _ in range(3):  # first no file is open, then all are
        drawn = (generator.integers(0, bound, 90).tolist() for bound in (len(paths), 60, 110))
        requests = [Request(*each) for each in zip(*drawn, strict=True)]
        expected = [paths[file].read_bytes()[start : start + size] for file, size, start in requests]
        assert [bytes(data) for data in files.read(requests)] == expected


def test_the_first_error_is_raised(paths: list[Path]) -> None:
    files = OpenFiles(paths)
    for number in (5, 2):
        paths[number].unlink()
    found = files.read([Request(number, 1, 0) for number in range(9)])
    assert [bytes(next(found)) for _ in range(2)] == [bytes([0]), bytes([7])]
    with pytest.raises(FileNotFoundError, match=f"{paths[2]}"):
        next(found)


@pytest.mark.parametrize(("limits", "open_files"), [((200, 200), 50), ((200, 500), 300), ((200, 4096), 600)])
def test_more_shards_than_a_process_may_open_are_read_by_many_threads(
    tmp_path: Path, limits: tuple[int, int], open_files: int
) -> None:
    write(tmp_path, [1] * 600)
    code = f"""
import os, resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from tests.input.shards import reader_of
resource.setrlimit(resource.RLIMIT_NOFILE, {limits})
opened, real = [], os.open
os.open = lambda path, *rest, **more: opened.append(str(path)) or real(path, *rest, **more)
reader = reader_of(Path(sys.argv[1]))
orders = [np.random.default_rng(seed).permutation(600) for seed in range(4)]
with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(reader.read, orders))
assert all(len({{*records}}) == 600 for records in found)
assert all(found[0][i] == found[1][j] for i, j in zip(np.argsort(orders[0]), np.argsort(orders[1])))
opened = [path for path in opened if "train-" in path]
assert {open_files} < 600 or len(opened) == 600, "a file was opened twice though all may be open"
before = len(os.listdir("/proc/self/fd"))
del reader
print(before - len(os.listdir("/proc/self/fd")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{open_files}\n"), done.stderr


class LateToKeep:
    """A lock that each thread has at once the first time, when it looks for the file, and late the next, when it keeps it."""

    def __init__(self) -> None:
        self._lock, self._seen = threading.Lock(), threading.local()

    def __enter__(self) -> None:
        time.sleep(0.2 * getattr(self._seen, "times", 0))
        self._seen.times = 1
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_threads_open_a_file_once_together(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened, files = [], OpenFiles(paths)
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(path) or real(path, *rest))  # type: ignore[func-returns-value]
    monkeypatch.setattr(files, "_lock", LateToKeep())
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: bytes(*files.read([Request(3, 1, 0)])), range(4)))
    assert found == [bytes([21])] * 4
    assert opened == [paths[3]]


def test_reads_are_in_flight_at_the_same_time(hostile_directory: Mounter, tmp_path: Path) -> None:
    data = write(tmp_path / "data", [1] * 40)
    manifest, index = Manifest.load(data), load_record_index(data, Manifest.load(data))
    slow = hostile_directory(data, Options(delay=0.05))
    assert RecordReader(slow, manifest, "train", index["train"]).read(np.arange(40)) == records(data, "train")
    assert most_in_flight(slow, "read") >= READS_IN_FLIGHT // 2


def test_a_file_that_fails_when_it_is_closed_was_read(hostile_directory: Mounter, tmp_path: Path) -> None:
    data = write(tmp_path / "data", [1] * 4)
    manifest, index = Manifest.load(data), load_record_index(data, Manifest.load(data))
    mount = hostile_directory(data, Options(fail=Fault("close", "/train-*", 1, "EIO")))
    reader = RecordReader(mount, manifest, "train", index["train"])
    assert reader.read(np.arange(4)) == records(data, "train")
    del reader  # an error here would fail the test
    assert failed_call(mount) == "close /train-00000-of-00004"
