"""Which image goes into which shard, and which rank writes it: pure functions of the listing and the options."""

import hashlib
import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shardtune.dataset.manifest import Split
from shardtune.errors import DataError


@dataclass(frozen=True)
class Source:
    """One image file.

    Attributes:
        path: relative to its split's directory, with forward slashes.
        label: 1 to the number of classes.
        bytes: size on disk.
    """

    path: str
    label: int
    bytes: int


@dataclass(frozen=True)
class ShardPlan:
    """The images, in order, that one shard is to hold."""

    split: Split
    name: str
    root: Path
    sources: tuple[Source, ...]


def scan(directory: Path, labels: Sequence[str]) -> list[Source]:
    """Every file in the class folders of `directory` and below; hidden ones are left out. In no particular order.

    Raises:
        DataError: a class has no files.
    """
    sources: list[Source] = []
    for label, name in enumerate(labels, start=1):
        before = len(sources)
        folders = [directory / name]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.append(Path(entry.path))
                    else:
                        path = Path(entry.path).relative_to(directory).as_posix()
                        if not path.isprintable() and path.encode(errors="replace").decode() != path:
                            raise DataError(f"A file name is UTF-8, but {directory} has {path!r}: rename it.")
                        sources.append(Source(path, label, entry.stat(follow_symlinks=False).st_size))
        if len(sources) == before:
            raise DataError(f"Each class has at least one image, but {directory / name} is empty: add images or remove it.")
    return sources


def shuffled(sources: Sequence[Source], seed: int) -> list[Source]:
    """The order of the data set: by BLAKE2b of (seed, path), so that neither listing order nor size of the tree matters."""
    key = seed.to_bytes(8, "little", signed=True)
    # A second key would only matter for a collision of 16 bytes; the path makes even that deterministic.
    return sorted(sources, key=lambda s: (hashlib.blake2b(s.path.encode(), digest_size=16, key=key).digest(), s.path))


def hold_out(sources: Sequence[Source], fraction: float) -> tuple[list[Source], list[Source]]:
    """Split shuffled sources into (training, validation): the first `fraction` of each class, rounded, is held out.

    A class of two or more images has at least one on each side; a class of one is trained on.
    """
    members: dict[int, list[Source]] = {}
    for source in sources:
        members.setdefault(source.label, []).append(source)
    held = set()
    for images in members.values():
        if len(images) > 1 and fraction > 0:
            held.update(images[: min(max(1, round(fraction * len(images))), len(images) - 1)])
    return [s for s in sources if s not in held], [s for s in sources if s in held]


def into_shards(sources: Sequence[Source], split: Split, root: Path, count: int) -> list[ShardPlan]:
    """Cut `sources` into `count` shards whose sizes differ by at most one; with fewer images than shards some are empty."""
    bounds = [i * len(sources) // count for i in range(count + 1)]
    return [
        ShardPlan(split, f"{split}-{i:05d}-of-{count:05d}", root, tuple(sources[bounds[i] : bounds[i + 1]]))
        for i in range(count)
    ]


def assign(weights: Sequence[int], ranks: int) -> list[list[int]]:
    """Deal shards of these weights to ranks: heaviest first, each to the rank with the least so far.

    Returns the indices of each rank's shards, ascending.
    """
    loads = [(0, rank) for rank in range(ranks)]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        load, rank = heapq.heappop(loads)
        shares[rank].append(index)
        heapq.heappush(loads, (load + weights[index], rank))
    return [sorted(share) for share in shares]
