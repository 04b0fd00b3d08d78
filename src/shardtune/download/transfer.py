"""Download a file over HTTP, through connections that break."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

from shardtune.errors import DownloadError
from shardtune.runtime.files import atomic_write
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.world import World

PAUSES_SECONDS = (1, 2, 4, 8)  # before each attempt after one that brought nothing new
SILENCE_SECONDS = 30.0  # after which a connection counts as broken
CHUNK_BYTES = 1 << 16  # what a broken connection loses at most
MEGABYTE = 1_000_000
PASSING_STATUSES = {408, 416, 425, 429}  # besides 5xx


def download(url: str, path: Path, world: World, check: Callable[[Path], None]) -> None:
    """Write what is at `url` to `path`, which is replaced when all is there and never holds a part. For rank 0.

    A connection that breaks is opened again where it broke, if the server can do so; it is given up after five attempts in a
    row that brought nothing new.

    Args:
        url: of http, https or file; or the path of a file.
        check: called with a file that is complete, before it gets its name; raises what is wrong with it.

    Raises:
        DownloadError: it cannot be had.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        if (local := _local_path(url)) is not None:
            _copy(local, file, world)
        else:
            _transfer_all(url, path, file, world)
        file.flush()
        check(Path(file.name))


def _local_path(url: str) -> Path | None:
    if url.startswith("file://"):
        return Path(url2pathname(urlsplit(url).path))
    return Path(url) if "://" not in url else None


def _copy(source: Path, file: IO[bytes], world: World) -> None:
    try:
        opened = source.open("rb")
    except OSError as error:
        raise DownloadError(f"{source} cannot be read ({error.strerror}).", "Check the path that --url gives.") from error
    with opened:
        while chunk := opened.read(CHUNK_BYTES):
            file.write(chunk)
            world.guard.heartbeat(f"copying {source}")


def _transfer_all(url: str, path: Path, file: IO[bytes], world: World) -> None:
    farthest, failures = 0, 0
    while True:
        try:
            return _transfer(url, path.name, file, world)
        except requests.RequestException as error:
            farthest, failures = max(farthest, file.tell()), 1 if file.tell() > farthest else failures + 1
            reason = _reason(error)
            if failures > len(PAUSES_SECONDS) or not _may_pass(error):
                raise DownloadError(
                    f"{url} cannot be downloaded ({reason}).", f"Put that file at {path} by hand, and run the command again."
                ) from error
            pause = PAUSES_SECONDS[failures - 1]
            print_on_root(world, f"{url}: {reason}. Trying again in {pause} s.")
            for second in range(pause):
                world.guard.heartbeat(f"waiting for {url}, {pause - second} s")
                time.sleep(1)


def _transfer(url: str, name: str, file: IO[bytes], world: World) -> None:
    """Append to `file` what it lacks; from its start if the server only sends the whole."""
    start = file.tell()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=SILENCE_SECONDS) as response:
        if response.status_code in (requests.codes.ok, requests.codes.requested_range_not_satisfiable):
            start = file.seek(0)
            file.truncate()
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else 0
        with ProgressReporter(world, f"MB of {name}", total // MEGABYTE, start=start // MEGABYTE) as progress:
            for chunk in response.iter_content(CHUNK_BYTES):
                before = file.tell()
                file.write(chunk)
                world.guard.heartbeat(f"downloading {url}")
                if count := file.tell() // MEGABYTE - before // MEGABYTE:
                    progress.advance(count=count)


def _may_pass(error: requests.RequestException) -> bool:
    """Whether the same request may succeed later."""
    if error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in PASSING_STATUSES
    lasting = (requests.exceptions.SSLError, requests.TooManyRedirects, ValueError)  # ValueError: of what URLs cannot be
    return not isinstance(error, lasting)


def _reason(error: requests.RequestException) -> str:
    """The error in a few words: the server's status, or what the system says of the connection."""
    if error.response is not None and not isinstance(error, requests.TooManyRedirects):
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer for {SILENCE_SECONDS:g} s"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "the connection broke" if isinstance(error, requests.exceptions.ChunkedEncodingError) else str(error)
