"""Find files with identical bytes: before the plan is made, if it must keep them together, and afterwards for the report."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from shardtune.builder.listing import FileTable
from shardtune.builder.partition import DIGEST_BYTES, Digests, Indices, group_by_digest, to_digests
from shardtune.dataset.manifest import Split
from shardtune.images.source import RejectedError, read_source
from shardtune.runtime.files import atomic_write
from shardtune.runtime.world import RootOnly, World

MAGIC = b"shardtune digests 2\n"  # includes the version of the layout
CHUNK_FILES = 1 << 16  # so that temporary arrays stay small with a million files


def digest(data: bytes | memoryview) -> bytes:
    """XXH3 of the bytes of a file, 128 bits: equal for identical files only, unless somebody constructs a collision."""
    return xxhash.xxh3_128_digest(data)


def placeholder_digest(path: Path) -> bytes:
    """Stands for the digest of a file that cannot be read. It differs from all others, and the build will reject the file."""
    return digest(b"unreadable\0" + os.fsencode(path))


def digest_tables(
    directories: dict[Split, Path], tables: RootOnly[dict[Split, FileTable]], cache_path: Path | None, world: World
) -> RootOnly[dict[Split, Digests]]:
    """Digests of all files of each table, uint64 [files, 2]; the ranks read equal numbers of bytes. All ranks must call it.

    Files whose path, size and time are in the cache are not read.

    Args:
        directories: the directory of each table.
        cache_path: the cache; updated. None: there is none.
    """
    digests = {split: _digest_table(path, split, tables, cache_path, world) for split, path in directories.items()}
    return world.run_on_root(lambda: {split: of_split.get() for split, of_split in digests.items()})


def _digest_table(
    directory: Path, split: Split, tables: RootOnly[dict[Split, FileTable]], cache_path: Path | None, world: World
) -> RootOnly[Digests]:
    cache = world.run_on_root(lambda: _DigestCache(directory, tables.get()[split], cache_path))
    misses = world.scatter(cache.get().misses_by_rank(world.size) if world.is_root else ())
    digests = world.allgather(_digest_all(directory, misses, world))
    return world.run_on_root(lambda: cache.get().merge_and_save(b"".join(digests)))


def _digest_all(directory: Path, files: FileTable, world: World) -> bytes:
    digests = bytearray()  # not join, which would first make a list of them
    for index in range(len(files)):
        world.guard.heartbeat("looking for identical images", step=index)
        digests += _digest_or_zeros(directory, files.path(index))
    return bytes(digests)


def _digest_or_zeros(directory: Path, path: str) -> bytes:
    """The digest of a file, or zeros if it cannot be read."""
    try:
        return digest(read_source(directory, path))
    except RejectedError:
        return bytes(DIGEST_BYTES)


class _DigestCache:
    """Digests of files that earlier builds read, and the files of a table that are not among them.

    On disk: `MAGIC`; for each file the digest of (directory, path, size, time) and the digest of its content; the digest of all
    this. A file of another form counts as an empty cache.
    """

    def __init__(self, directory: Path, files: FileTable, cache_path: Path | None) -> None:
        self._directory, self._files, self._path = directory, files, cache_path
        keys = bytearray()
        resolved = os.fsencode(directory.resolve())
        for index in range(len(files)):
            status = f"\0{files.sizes[index]}\0{files.mtimes[index]}".encode()
            keys += digest(b"\0".join((resolved, files.name(index))) + status)
        self._keys = to_digests(bytes(keys))
        data = memoryview(cache_path.read_bytes() if cache_path and cache_path.exists() else b"")
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

    def misses_by_rank(self, ranks: int) -> Iterator[FileTable]:
        """The files to read, in order, split so that the ranks get about equal numbers of bytes."""
        ends = np.cumsum(self._files.sizes[self._misses])
        total = int(ends[-1]) if len(ends) else 0
        cuts = np.searchsorted(ends, [total * rank / ranks for rank in range(1, ranks)], side="right")
        for rows in np.split(self._misses, cuts):
            yield self._files.take(rows)

    def merge_and_save(self, digests: bytes) -> Digests:
        """Add the digests of the misses, save the cache, and return the digests of all files.

        Files that cannot be read are not saved, because they may be readable next time.
        """
        new = to_digests(digests)
        self._digests[self._misses] = new
        is_readable: npt.NDArray[np.bool_] = np.any(new, axis=1)
        if self._path and is_readable.any():
            file_digest = xxhash.xxh3_128()
            with atomic_write(self._path) as file:
                for chunk in self._chunks(new, is_readable):
                    file.write(chunk)
                    file_digest.update(chunk)
                file.write(file_digest.digest())
        for index in self._misses[~is_readable]:
            self._digests[index] = to_digests(placeholder_digest(self._directory / self._files.path(index)))
        return self._digests

    def _chunks(self, new: Digests, is_readable: npt.NDArray[np.bool_]) -> Iterator[bytes]:
        """The content of the new cache, without its own digest."""
        yield MAGIC
        for first in range(0, len(self._old), CHUNK_FILES):
            yield self._old[first : first + CHUNK_FILES].astype(">u8").tobytes()
        for first in range(0, len(new), CHUNK_FILES):
            chunk = slice(first, first + CHUNK_FILES)
            rows = np.concatenate([self._keys[self._misses[chunk]], new[chunk]], axis=1)[is_readable[chunk]]
            yield rows.astype(">u8").tobytes()


def find_duplicate_groups(
    digests: Digests, describe: Callable[[int], dict[str, Any]]
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Groups of identical images: statistics for the manifest, and the files of each group.

    Args:
        digests: of all images, [n, 2].
        describe: returns "split", "path", "label" and whether it is "stored" of the image with a number.
    """
    groups = group_by_digest(digests)
    members: dict[int, list[dict[str, Any]]] = {}
    for index in np.flatnonzero(np.bincount(groups)[groups] > 1).tolist():
        members.setdefault(int(groups[index]), []).append(describe(index))
    duplicates = list(members.values())
    stats = {
        "groups": len(duplicates),
        "images": sum(len(files) for files in duplicates),
        "groups_across_splits": sum(len({file["split"] for file in files}) > 1 for files in duplicates),
        "groups_across_labels": sum(len({file["label"] for file in files}) > 1 for files in duplicates),
    }
    return stats, [{"identical": files} for files in duplicates]
