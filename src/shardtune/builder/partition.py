"""Which image goes into which shard: pure functions of the listing and the options."""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardtune.builder.boxes import Box
from shardtune.builder.listing import FileTable
from shardtune.dataset.manifest import Split

DIGEST_BYTES = 16
Indices = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint64]  # [n, 2]: n digests of DIGEST_BYTES bytes


@dataclass(frozen=True)
class ShardPlan:
    """The images, in order, that one shard is to hold, and the boxes in them; their paths are relative to `root`."""

    split: Split
    name: str
    root: Path
    sources: FileTable
    boxes: dict[str, list[Box]]


@dataclass(frozen=True)
class Plan:
    """What a build is to write.

    Attributes:
        labels: class names; the name at index i has label i + 1.
        roots: the directory of each split's images.
        sources: the images of each split, in the order in which they are stored.
        skipped: images of each split that are left out because an identical one is stored, and their digests.
        boxes: of each split and path that has any, those of identical images that are skipped included.
        shards: of all splits, in order: split, name, and the range of `sources[split]` that it holds.
        box_counts: how many boxes of images that are skipped were "moved" to the identical one that is stored, and how many
            were not, because it has an equal one: "repeated".
    """

    labels: list[str]
    roots: dict[Split, Path]
    sources: dict[Split, FileTable]
    skipped: dict[Split, tuple[FileTable, Digests]]
    boxes: dict[tuple[Split, str], list[Box]]
    shards: list[tuple[Split, str, range]]
    box_counts: Mapping[str, int] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """How many are to be stored."""
        return sum(map(len, self.sources.values()))

    def shard(self, number: int) -> ShardPlan:
        split, name, where = self.shards[number]
        sources = self.sources[split].take(np.array(where, np.int64))
        paths = map(sources.path, range(len(sources)))
        boxes = {path: self.boxes[split, path] for path in paths if (split, path) in self.boxes}
        return ShardPlan(split, name, self.roots[split], sources, boxes)

    def bytes_of(self, number: int) -> int:
        split, _, where = self.shards[number]
        return int(self.sources[split].sizes[where.start : where.stop].sum())


def as_digests(digests: bytes | memoryview) -> Digests:
    """Digests that lie end to end, as numbers that can be sorted and compared."""
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)


def hash_shuffle(listing: FileTable, seed: int) -> FileTable:
    """The order of the data set: by BLAKE2b of (seed, path), so that neither listing order nor size of the tree matters."""
    digests = bytearray()
    for index in range(len(listing)):
        digests += _digest(listing, index, seed)
    high, low = as_digests(bytes(digests)).T
    return listing.take(np.lexsort((low, high)))


def _digest(listing: FileTable, index: int, seed: int) -> bytes:
    key = seed.to_bytes(8, "little", signed=True)
    return hashlib.blake2b(listing.name(index), digest_size=DIGEST_BYTES, key=key).digest()


def group(digests: Digests) -> Indices:
    """A number for each distinct digest, int64 [n]: equal digests have equal numbers."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    starts = np.any(ordered[1:] != ordered[:-1], axis=1)
    groups = np.empty(len(digests), np.int64)
    groups[order] = np.concatenate([[0], np.cumsum(starts)])[: len(digests)]
    return groups


def is_first_occurrence(groups: Indices) -> npt.NDArray[np.bool_]:
    """True for the first member of each group."""
    first = np.zeros(len(groups), bool)
    first[np.unique(groups, return_index=True)[1]] = True
    return first


def shares(counts: Sequence[int], total: int) -> list[int]:
    """How many images of each class to hold out, `total` in all, in proportion to the classes' sizes.

    Largest remainders get what rounding leaves, and what a class cannot give: one image of each is left for training.
    """
    most = [max(0, count - 1) for count in counts]
    exact = [total * count / max(1, sum(counts)) for count in counts]
    held = [min(int(part), limit) for part, limit in zip(exact, most, strict=True)]
    while (lacking := min(total, sum(most)) - sum(held)) > 0:
        can_give = [i for i in range(len(counts)) if held[i] < most[i]]
        for i in sorted(can_give, key=lambda i: (held[i] - exact[i], i))[:lacking]:
            held[i] += 1
    return held


def select_holdout(labels: npt.NDArray[np.int32], groups: Indices, wanted: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which of these images, in their order, are for validation.

    Identical images (of one group) stay together; those that stand under several labels are trained on. The first
    groups of each class that fit are held out, so a class may have a few less than wanted, and never all of its images.

    Args:
        labels: class numbers from 1, [n].
        groups: see `group`, [n].
        wanted: images to hold out of each class.
    """
    sizes = np.bincount(groups)
    lowest, highest = np.full(len(sizes), np.iinfo(np.int32).max), np.zeros(len(sizes), np.int64)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    room = [0, *wanted]
    held = np.zeros(len(sizes), bool)
    for one in groups[is_first_occurrence(groups)].tolist():
        label = highest[one]
        if lowest[one] == label and sizes[one] <= room[label]:
            held[one] = True
            room[label] -= sizes[one]
    return held[groups]


def split_into_shards(split: Split, listing: FileTable, count: int, seed: int) -> list[tuple[Split, str, range]]:
    """The `count` shards of a split, whose images are in the order of `hash_shuffle`: name and range of images of each.

    A shard has the images whose digests lie in its part of all that there may be. So no image moves to another shard when
    others come or go, and sizes differ by chance; with few images some shards are empty.
    """

    def high(index: int) -> int:
        return int.from_bytes(_digest(listing, index, seed)[:8], "big")

    bounds = [bisect_left(range(len(listing)), i * 2**64 // count, key=high) for i in range(count)] + [len(listing)]
    return [(split, f"{split}-{i:05d}-of-{count:05d}", range(bounds[i], bounds[i + 1])) for i in range(count)]
