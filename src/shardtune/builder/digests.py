"""Digests of all images, before the plan is made: where it must keep identical ones together, or compare with an earlier build.

Each rank reads a part of the files and keeps what it can of their content for when it writes them. Rank 0 gets the digests and
saves them now and then: a build that is killed here goes on from there.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from shardtune.builder.duplicates import digest, placeholder_digest
from shardtune.builder.listing import FileTable
from shardtune.builder.partition import DIGEST_BYTES, Digests, Indices, to_digests
from shardtune.builder.sources import FILE_BYTES, Kept, SourceReader
from shardtune.dataset.splits import Split
from shardtune.images.source import RejectedError
from shardtune.runtime.files import atomic_write, read_bytes
from shardtune.runtime.progress import ProgressReporter
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World

DIGESTS_NAME = "digests.bin"
MAGIC = b"shardtune digests 2\n"  # includes the version of the layout
CHUNK_FILES = 1 << 16  # so that temporary arrays stay small with a million files
KEPT_BYTES = 1 << 28  # of content on each rank
SECONDS_BETWEEN_REPORTS = 1.0
SAVE_SECONDS, SAVE_SHARE = 2.0, 0.05  # save the cache so often, but spend no more than this share of the time on it


@dataclass(frozen=True)
class DigestPass:
    """What the ranks read.

    Attributes:
        digests: on rank 0, of all files of each table, uint64 [files, 2].
        first_rows: on rank 0, the row of each table with which the part of each rank begins, int64 [ranks].
        kept: what this rank read.
    """

    digests: RootOnly[dict[Split, Digests]]
    first_rows: RootOnly[dict[Split, Indices]]
    kept: Kept = field(default_factory=dict)


def no_digests(world: World) -> DigestPass:
    """Where none are needed."""
    return DigestPass(world.run_on_root(dict[Split, Digests]), world.run_on_root(dict[Split, Indices]))


def digest_tables(
    directories: dict[Split, Path],
    tables: RootOnly[dict[Split, FileTable]],
    cache_path: Path,
    world: World,
    *,
    is_saved: bool = True,
) -> DigestPass:
    """Digests of all files of each table; the ranks read equal numbers of bytes. All ranks must call it.

    Files whose path, size and time are in the cache are not read.

    Args:
        directories: the directory of each table.
        cache_path: the cache.
        is_saved: whether it is updated.
    """
    kept: Kept = {}
    by_split = {
        split: _digest_table(path, split, tables, cache_path, is_saved, kept, world) for split, path in directories.items()
    }
    return DigestPass(
        world.run_on_root(lambda: {split: found.get()[0] for split, found in by_split.items()}),
        world.run_on_root(lambda: {split: found.get()[1] for split, found in by_split.items()}),
        kept,
    )


def _digest_table(
    directory: Path,
    split: Split,
    tables: RootOnly[dict[Split, FileTable]],
    cache_path: Path,
    is_saved: bool,
    kept: Kept,
    world: World,
) -> RootOnly[tuple[Digests, Indices]]:
    """The digests of one table, and its `first_rows`. The cache, which is larger, is left when this returns."""
    cache = world.run_on_root(lambda: _DigestCache(directory, tables.get()[split], cache_path, is_saved, world.size))
    total = world.broadcast_from_root(lambda: cache.get().missing)
    misses = world.scatter(cache.get().misses_by_rank() if world.is_root else ())
    if total:
        with ProgressReporter(world, "digests", total) as progress, SourceReader([(directory, misses)]) as sources:
            reports = _Reports(world, cache, progress)
            room = KEPT_BYTES - sum(len(data) + FILE_BYTES for data in kept.values())
            for index in range(len(misses)):
                world.guard.heartbeat("looking for identical images")
                path = misses.path(index)
                try:
                    data = sources.read(directory, path)
                except RejectedError:
                    reports.add(bytes(DIGEST_BYTES))
                    continue
                reports.add(digest(data))
                cost = len(data) + FILE_BYTES
                if cost <= room:
                    kept[directory, path] = data
                    room -= cost
            reports.finish()
        world.run_on_root(lambda: cache.get().save())
    return world.run_on_root(lambda: (cache.get().result(), cache.get().first_rows))


class _Reports:
    """Sends the digests of this rank to rank 0, and on rank 0 collects those of all ranks in the cache and saves it."""

    def __init__(self, world: World, cache: RootOnly["_DigestCache"], progress: ProgressReporter) -> None:
        self._world, self._cache, self._progress = world, cache, progress
        self._unsent = bytearray()
        self._sent = time.monotonic()
        self._next_save = self._sent + SAVE_SECONDS

    def add(self, of_file: bytes) -> None:
        """Take the digest of the next file; zeros if it cannot be read."""
        self._unsent += of_file
        if time.monotonic() - self._sent >= SECONDS_BETWEEN_REPORTS:
            self._send()

    def finish(self) -> None:
        """Send the last ones. On rank 0, wait for those of the other ranks."""
        if self._unsent:  # rank 0 waits for digests, not for messages
            self._send()
        has_news = True
        while self._world.is_root and self._cache.get().missing:
            if has_news:
                self._world.guard.heartbeat("waiting for the digests of other ranks", phase=1)
            time.sleep(0.01)
            has_news = self._receive()

    def _send(self) -> None:
        self._world.send_to_root((self._world.rank, bytes(self._unsent)))
        self._unsent.clear()
        self._sent = time.monotonic()
        if self._world.is_root:
            self._receive()

    def _receive(self) -> bool:
        """Process the messages that have arrived. Returns whether there were any."""
        messages, cache = self._world.receive_pending(), self._cache.get()
        before = cache.missing
        for rank, digests in messages:
            cache.add(rank, digests)
        if messages:
            self._progress.advance(count=before - cache.missing)
        if (started := time.monotonic()) >= self._next_save:
            cache.save()
            now = time.monotonic()
            self._next_save = now + max(SAVE_SECONDS, (now - started) / SAVE_SHARE)
        return bool(messages)


class _DigestCache:
    """Digests of files that earlier builds read, and the files of a table that are not among them.

    On disk: `MAGIC`; for each file the digest of (directory, path, size, time) and the digest of its content; the digest of all
    this. A file of another form counts as an empty cache.

    Attributes:
        missing: how many files are still to be read.
        first_rows: see `DigestPass`.
    """

    def __init__(self, directory: Path, files: FileTable, path: Path, is_saved: bool, ranks: int) -> None:
        self._directory, self._files, self._path, self._is_saved = directory, files, path, is_saved
        keys = bytearray()  # not join, which would first make a list of them
        resolved = os.fsencode(directory.resolve())
        for index in range(len(files)):
            status = f"\0{files.sizes[index]}\0{files.mtimes[index]}".encode()
            keys += digest(b"\0".join((resolved, files.name(index))) + status)
        self._keys = to_digests(bytes(keys))
        data = memoryview(read_bytes(path) if path.exists() else b"")
        rows = data[len(MAGIC) : -DIGEST_BYTES]
        is_intact = data[: len(MAGIC)] == MAGIC and data[-DIGEST_BYTES:] == digest(data[:-DIGEST_BYTES])
        self._old = to_digests(rows if is_intact else b"").reshape(-1, 4)
        self._digests = np.zeros_like(self._keys)
        # Searched by the first half of the key, then compared in full. If two share the first half, one is read again.
        self._old = self._old[np.argsort(self._old[:, 0], kind="stable")]
        is_hit = np.zeros(len(files), bool)
        if len(self._old):
            at = np.searchsorted(self._old[:, 0], self._keys[:, 0]).clip(max=len(self._old) - 1)
            is_hit = np.all(self._old[at, :2] == self._keys, axis=1)
            self._digests[is_hit] = self._old[at[is_hit], 2:]
        self._misses: Indices = np.flatnonzero(~is_hit)
        self.missing = len(self._misses)
        ends = np.cumsum(files.sizes[self._misses])
        total = int(ends[-1]) if len(ends) else 0
        self._starts: Indices = np.searchsorted(ends, [total * rank / ranks for rank in range(ranks)], side="right")
        self._starts[0] = 0
        self._next = self._starts.copy()  # of each rank, the number of the miss whose digest comes next
        self.first_rows = np.append(self._misses, len(files))[self._starts]

    def misses_by_rank(self) -> Iterator[FileTable]:
        """The files to read, in order, split so that the ranks get about equal numbers of bytes."""
        for rows in np.split(self._misses, self._starts[1:]):
            yield self._files.take(rows)

    def add(self, rank: int, digests: bytes) -> None:
        """Take the digests of the next files of a rank; zeros of those that cannot be read."""
        new = to_digests(digests)
        rows = self._misses[self._next[rank] : self._next[rank] + len(new)]
        self._digests[rows] = new
        self._next[rank] += len(new)
        self.missing -= len(new)

    def save(self) -> None:
        """Save the digests that are known, but none of files that cannot be read: they may be readable next time."""
        if not self._is_saved:
            return
        file_digest = xxhash.xxh3_128()
        with atomic_write(self._path) as file:
            for chunk in self._chunks():
                file.write(chunk)
                file_digest.update(chunk)
            file.write(file_digest.digest())

    def result(self) -> Digests:
        """The digests of all files, when none is missing."""
        is_unreadable = ~np.any(self._digests, axis=1)
        for index in np.flatnonzero(is_unreadable).tolist():
            self._digests[index] = to_digests(placeholder_digest(self._directory / self._files.path(index)))
        return self._digests

    def _chunks(self) -> Iterator[bytes]:
        """The content of the new cache, without its own digest."""
        yield MAGIC
        for first in range(0, len(self._old), CHUNK_FILES):
            yield self._old[first : first + CHUNK_FILES].astype(">u8").tobytes()
        for first in range(0, len(self._misses), CHUNK_FILES):
            rows = self._misses[first : first + CHUNK_FILES]
            is_known: npt.NDArray[np.bool_] = np.any(self._digests[rows], axis=1)
            yield np.concatenate([self._keys[rows], self._digests[rows]], axis=1)[is_known].astype(">u8").tobytes()
