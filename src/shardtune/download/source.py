"""Files that are published somewhere, with their digests, and what was fetched of them."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.download.archive import unpack
from shardtune.errors import DownloadError
from shardtune.runtime.cache import cache_directory
from shardtune.runtime.files import atomic_write, hash_file, sha256_file
from shardtune.runtime.locking import wait_for_lock
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.sealed import read_sealed, write_sealed
from shardtune.runtime.world import World

LOCK_NAME = ".fetch.lock"
RECEIPT_VERSION = 1


@dataclass(frozen=True)
class RemoteFile:
    """A file that is published.

    Attributes:
        name: by which it is kept.
        url: see `download`.
        digest: as "sha256:…" or "md5:…", hexadecimal; "" where none is published: it is then recorded at first use.
    """

    name: str
    url: str
    digest: str = ""

    def replaced_by(self, url: str, sha256: str) -> "RemoteFile":
        """The same with what is not empty in place of its own."""
        return RemoteFile(self.name, url or self.url, f"sha256:{sha256.lower()}" if sha256 else self.digest)

    @property
    def record(self) -> Path:
        """Where its digest is recorded."""
        return cache_directory() / "digests" / self.name

    @property
    def expected_digest(self) -> str:
        """The published digest, or the recorded one; "" if there is neither."""
        if self.digest:
            return self.digest
        recorded = self.record.read_text("ascii", "replace").strip() if self.record.exists() else ""
        return recorded if re.fullmatch("sha256:[0-9a-f]{64}", recorded) else ""


@contextmanager
def alone_in(directory: Path, world: World) -> Iterator[None]:
    """Around what fetches into `directory`, which is made: wait while another process is in such a block. For rank 0."""
    directory.mkdir(parents=True, exist_ok=True)
    with wait_for_lock(directory / LOCK_NAME, world):
        yield


def fetch_file(file: RemoteFile, directory: Path, world: World) -> None:
    """Have the file in `directory`: nothing is requested if it is there and whole. Within `alone_in`.

    Raises:
        DownloadError: it cannot be downloaded, or has another digest.
        OSError: it cannot be written.
    """
    if not _download_unless_whole(file, directory, world):
        print_on_root(world, f"{directory / file.name} is there and whole.")


def fetch_unpacked(file: RemoteFile, target: Path, directory: Path, world: World) -> None:
    """Have what the archive `file` holds under the name of `target` at `target`: nothing is done if it is there and whole.

    The archive stays in `directory`; it is needed again only if `target` is damaged. Within `alone_in`.

    Raises:
        DownloadError: it cannot be downloaded, has another digest, or cannot be unpacked (see `unpack`).
        OSError: a file cannot be written.
    """
    receipt = target.parent / f".{target.name}.json"
    if target.exists() and read_sealed(receipt, RECEIPT_VERSION) == _receipt(target, file.expected_digest, world):
        print_on_root(world, f"{target} is there and whole.")
        return
    _download_unless_whole(file, directory, world)
    unpack(directory / file.name, target, lambda: world.guard.heartbeat(f"unpacking {file.name}"))
    if not file.expected_digest:
        _record_digest(file, directory, world)
    write_sealed(receipt, RECEIPT_VERSION, _receipt(target, file.expected_digest, world))


def _download_unless_whole(file: RemoteFile, directory: Path, world: World) -> bool:
    """Whether it was downloaded."""
    from shardtune.download.transfer import download  # here, because requests takes a tenth of a second to import

    path, expected = directory / file.name, file.expected_digest
    if path.exists():
        if _digest(path, expected) == expected:
            return False
        print_on_root(world, f"{path} is damaged, or another file: its digest is not {expected}.")
    print_on_root(world, f"Downloading {file.url} to {path}.")

    def check(downloaded: Path) -> None:
        if (found := _digest(downloaded, expected)) != expected:
            raise DownloadError(
                f"What {file.url} gives is damaged, or another file: its digest is {found}, not {expected}.",
                f"Run the command again, or put the right file at {path} by hand."
                + ("" if file.digest else f" Remove {file.record} if it was published anew."),
            )

    download(file.url, path, world, check)
    return True


def _digest(path: Path, expected: str) -> str:
    """The digest of a file, by the algorithm of `expected`; "" if that is ""."""
    algorithm = expected.partition(":")[0]
    return f"{algorithm}:{hash_file(path, hashlib.new(algorithm, usedforsecurity=False))}" if algorithm else ""


def _record_digest(file: RemoteFile, directory: Path, world: World) -> None:
    digest = f"sha256:{sha256_file(directory / file.name)}"
    file.record.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file.record) as record:
        record.write(f"{digest}\n".encode())
    print_on_root(world, f"No digest of {file.name} is published: {digest} is kept in {file.record}, and checked from now on.")


def _receipt(target: Path, digest: str, world: World) -> dict[str, Any]:
    """The digest of the archive, and those of all files of `target`."""
    files = sorted(path for path in (target.rglob("*") if target.is_dir() else [target]) if path.is_file())
    digests = {}
    for path in files:
        world.guard.heartbeat(f"reading {path}")
        digests[str(path.relative_to(target.parent))] = sha256_file(path)
    return {"archive": digest, "files": digests}
