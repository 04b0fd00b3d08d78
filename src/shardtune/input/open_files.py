"""Read many files at any place, in order: several reads run at a time where they take long."""

import os
import resource
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shardtune.runtime.files import filename_in_errors

READS_IN_FLIGHT = 16  # where a read takes 5 ms, as over a network, one after another would be 200 a second
MAX_READS_PER_TURN = 4  # of one thread: to let it begin takes as long as several reads from memory
Buffer = bytes | memoryview


class Request(NamedTuple):
    """Bytes of a file.

    Attributes:
        file: its number.
        size: bytes from byte `start` on.
    """

    file: int
    size: int
    start: int


class OpenFiles:
    """Files that stay open while there is room; then the one that was used least recently is closed. For any threads."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._capacity = max(1, allow_open_files(len(paths)))
        self._files: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = [threading.Lock() for _ in paths]
        self._threads = ThreadPoolExecutor(READS_IN_FLIGHT)

    def read(self, requests: Sequence[Request]) -> Iterator[Buffer]:
        """What is asked for, in this order; less where a file ends."""
        read: deque[bytes] = deque()
        begun: deque[Future[list[bytes]]] = deque()
        following, per_turn = 0, min(max(1, len(requests) // READS_IN_FLIGHT), MAX_READS_PER_TURN)
        for position, request in enumerate(requests):
            # One after another while memory has them: threads that take turns would cost more than such reads.
            data = None if read or begun else self._read_from_memory(request)
            if data is None:
                following = max(following, position)
                while len(begun) < READS_IN_FLIGHT and following < len(requests):
                    begun.append(self._threads.submit(self._read, requests[following : following + per_turn]))
                    following += per_turn
                if not read:
                    read.extend(begun.popleft().result())
                data = read.popleft()
            yield data

    def _read_from_memory(self, request: Request) -> Buffer | None:
        with self._lock:
            file = self._files.get(request.file)
            if file:
                self._files.move_to_end(request.file)
        return file.read_from_memory(request.size, request.start) if file else None

    def _read(self, requests: Sequence[Request]) -> list[bytes]:
        return [self._read_one(request) for request in requests]

    def _read_one(self, request: Request) -> bytes:
        with filename_in_errors(self._paths[request.file]):
            return self._opened(request.file).read(request.size, request.start)

    def _opened(self, number: int) -> "_OpenFile":
        with self._opening[number]:  # else several threads would open it
            with self._lock:
                file = self._files.get(number)
            if file is None:
                file = _OpenFile(self._paths[number])
            with self._lock:
                self._files[number] = file
                self._files.move_to_end(number)
                if len(self._files) > self._capacity:
                    self._files.popitem(last=False)
        return file


class _OpenFile:
    """An open file. It closes when nobody refers to it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = -1  # for __del__, where opening fails
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, size: int, start: int) -> bytes:
        return os.pread(self._descriptor, size, start)

    def read_from_memory(self, size: int, start: int) -> Buffer | None:
        """The bytes, or None if the page cache does not have all of them or the file system cannot tell."""
        data = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type]
        try:
            return data if os.preadv(self._descriptor, [data], start, os.RWF_NOWAIT) == size else None
        except OSError:
            return None

    def __del__(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):  # all that was asked for has been read
                os.close(self._descriptor)


def allow_open_files(count: int) -> int:
    """Raise the limit on this process's open files by `count`, as far as that is permitted.

    Returns:
        How many of these may be open: `count`; where the limit cannot be raised so far, a quarter of it, or more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return count
    raised = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return min(count, max(raised - soft, soft // 4))
