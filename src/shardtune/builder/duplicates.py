"""Files with identical bytes: found before the plan is made where it must keep them together, and reported afterwards."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from shardtune.builder import images
from shardtune.builder.listing import FileTable
from shardtune.builder.partition import DIGEST_BYTES, Digests, Indices, as_digests, group
from shardtune.runtime.files import atomic_write
from shardtune.runtime.world import RootOnly, World

MAGIC = b"shardtune digests 2\n"  # with the version of the layout
AT_ONCE = 1 << 16  # files: of a million, copies take memory


def digest(data: bytes | memoryview) -> bytes:
    """What two files have in common only if they are identical, barring malice: XXH3 of their bytes, 128 bits."""
    return xxhash.xxh3_128_digest(data)


def placeholder_digest(path: Path) -> bytes:
    """What stands for the digest of a file that cannot be read: it is like no other, and the build will reject it."""
    return digest(b"unreadable\0" + os.fsencode(path))


def digest_files(root: Path, listing: Callable[[], FileTable], cache: Path, world: World) -> RootOnly[Digests]:
    """Digests of all files of a listing, which the ranks share out by bytes, [files, 2]. For all ranks to call.

    Only rank 0 asks for the listing, and only it gets the digests. Files whose path, size and time are in `cache` are not read.
    """
    known = world.run_on_root(lambda: _DigestCache(root, listing(), cache))
    everything = world.allgather(
        _digests_of(root, world.scatter(known.get().misses_by_rank(world.size) if world.is_root else ()), world)
    )
    return world.run_on_root(lambda: known.get().merge_and_save(b"".join(everything)))


def _digests_of(root: Path, listing: FileTable, world: World) -> bytes:
    digests = bytearray()  # join would first make a list of them
    for index in range(len(listing)):
        world.guard.heartbeat("looking for identical images", step=index)
        digests += _digest_or_none(root, listing.path(index))
    return bytes(digests)


def _digest_or_none(root: Path, path: str) -> bytes:
    """The digest of a file, or zeros if it cannot be read."""
    try:
        return digest(images.read_source(root, path))
    except images.RejectedError:
        return bytes(DIGEST_BYTES)


class _DigestCache:
    """The cache, and which files it lacks. On disk: `MAGIC`, (digest of root, path, size and time; digest of content) end to
    end, and the digest of all this; a file that is otherwise is as none."""

    def __init__(self, root: Path, listing: FileTable, cache: Path) -> None:
        self._root, self._listing, self._cache = root, listing, cache
        keys = bytearray()
        place = os.fsencode(root.resolve())
        for index in range(len(listing)):
            status = f"\0{listing.sizes[index]}\0{listing.mtimes[index]}".encode()
            keys += digest(b"\0".join((place, listing.name(index))) + status)
        self._keys = as_digests(bytes(keys))
        data = memoryview(cache.read_bytes() if cache.exists() else b"")
        rows = data[len(MAGIC) : -DIGEST_BYTES]
        whole = data[: len(MAGIC)] == MAGIC and data[-DIGEST_BYTES:] == digest(data[:-DIGEST_BYTES])
        self._old = as_digests(rows if whole else b"").reshape(-1, 4)
        self._digests = np.zeros_like(self._keys)
        # Searched by the first half of the key, then compared whole: of two with one first half, one is read again.
        self._old = self._old[np.argsort(self._old[:, 0], kind="stable")]
        hit = np.zeros(len(listing), bool)
        if len(self._old):
            at = np.searchsorted(self._old[:, 0], self._keys[:, 0]).clip(max=len(self._old) - 1)
            hit = np.all(self._old[at, :2] == self._keys, axis=1)
            self._digests[hit] = self._old[at[hit], 2:]
        self._missing: Indices = np.flatnonzero(~hit)

    def misses_by_rank(self, ranks: int) -> Iterator[FileTable]:
        """The files to read, in order, cut where the ranks get about equal numbers of bytes."""
        ends = np.cumsum(self._listing.sizes[self._missing])
        total = int(ends[-1]) if len(ends) else 0
        cuts = np.searchsorted(ends, [total * rank / ranks for rank in range(1, ranks)], side="right")
        for part in np.split(self._missing, cuts):
            yield self._listing.take(part)

    def merge_and_save(self, digests: bytes) -> Digests:
        """Digests of all files, from those of the unknown ones. What cannot be read is not kept: next time it may be."""
        found = as_digests(digests)
        self._digests[self._missing] = found
        readable = found.any(axis=1)
        if readable.any():
            whole = xxhash.xxh3_128()
            with atomic_write(self._cache) as file:
                for piece in self._pieces(found, readable):
                    file.write(piece)
                    whole.update(piece)
                file.write(whole.digest())
        for index in self._missing[~readable]:
            self._digests[index] = as_digests(placeholder_digest(self._root / self._listing.path(index)))
        return self._digests

    def _pieces(self, found: Digests, readable: npt.NDArray[np.bool_]) -> Iterator[bytes]:
        """The content of the new cache, up to its own digest."""
        yield MAGIC
        for first in range(0, len(self._old), AT_ONCE):
            yield self._old[first : first + AT_ONCE].astype(">u8").tobytes()
        for first in range(0, len(found), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            new = np.concatenate([self._keys[self._missing[part]], found[part]], axis=1)[readable[part]]
            yield new.astype(">u8").tobytes()


def report(digests: Digests, describe: Callable[[int], dict[str, Any]]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Groups of identical images: figures for the manifest, and the files of each group.

    Args:
        digests: of all images, [n, 2].
        describe: from the number of an image to its "split", "path", "label" and whether it is "stored".
    """
    groups = group(digests)
    members: dict[int, list[dict[str, Any]]] = {}
    for index in np.flatnonzero(np.bincount(groups)[groups] > 1).tolist():
        members.setdefault(int(groups[index]), []).append(describe(index))
    found = list(members.values())
    figures = {
        "groups": len(found),
        "images": sum(len(files) for files in found),
        "groups_across_splits": sum(len({file["split"] for file in files}) > 1 for files in found),
        "groups_across_labels": sum(len({file["label"] for file in files}) > 1 for files in found),
    }
    return figures, [{"identical": files} for files in found]
