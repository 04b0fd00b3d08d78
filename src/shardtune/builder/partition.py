"""Which image goes into which shard: pure functions of the files and the options."""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardtune.builder.boxes import Box
from shardtune.builder.listing import FileTable
from shardtune.dataset.splits import Split

DIGEST_BYTES = 16
Indices = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint64]  # [n, 2]: n digests of DIGEST_BYTES bytes


@dataclass(frozen=True)
class ShardPlan:
    """The images of one shard, in order, and the boxes in them. Paths are relative to `root`."""

    split: Split
    name: str
    root: Path
    sources: FileTable
    boxes: dict[str, list[Box]]


@dataclass(frozen=True)
class ShardRange:
    """Which of the stored images of its split a shard holds: `rows` are positions in `SplitPlan.stored`."""

    split: Split
    name: str
    rows: range


def _no_rows() -> Indices:
    return np.empty(0, np.int64)


def _no_digests() -> Digests:
    return np.empty((0, 2), np.uint64)


@dataclass(frozen=True)
class SplitPlan:
    """The images of one split.

    Attributes:
        source: the split whose directory they are in: "train" for validation images that are held out.
        directory: that directory.
        files: all images of that directory, in the order of the data set.
        stored: rows of `files` to store, in order.
        skipped: rows of `files` that are left out because an identical image is stored.
        skipped_digests: digests of these.
    """

    source: Split
    directory: Path
    files: FileTable
    stored: Indices
    skipped: Indices = field(default_factory=_no_rows)
    skipped_digests: Digests = field(default_factory=_no_digests)


@dataclass(frozen=True)
class Plan:
    """What a build writes.

    Attributes:
        labels: class names; the name at index i has label i + 1.
        splits: the images of each split that has any.
        boxes: by split and path of a stored image, including the boxes of identical images that are skipped.
        shards: of all splits, in order.
        box_counts: how many boxes of skipped images were "moved" to the identical stored image, and how many were not because
            it already has an equal box: "repeated"; how many are left out as "unlisted": their images are not there.
        note: a sentence about the groups of images; empty if there are none.
    """

    labels: list[str]
    splits: dict[Split, SplitPlan]
    boxes: dict[tuple[Split, str], list[Box]]
    shards: list[ShardRange]
    box_counts: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def images(self) -> int:
        """How many images are to be stored."""
        return sum(len(split.stored) for split in self.splits.values())

    def shard_plan(self, shard: ShardRange) -> ShardPlan:
        split = self.splits[shard.split]
        sources = split.files.take(self.rows(shard))
        paths = map(sources.path, range(len(sources))) if self.boxes else ()
        boxes = {path: self.boxes[shard.split, path] for path in paths if (shard.split, path) in self.boxes}
        return ShardPlan(shard.split, shard.name, split.directory, sources, boxes)

    def source_bytes(self, shard: ShardRange) -> int:
        """Bytes of the source files of a shard."""
        return int(self.splits[shard.split].files.sizes[self.rows(shard)].sum())

    def rows(self, shard: ShardRange) -> Indices:
        """Rows of the shard's images in the table of its split."""
        return self.splits[shard.split].stored[shard.rows.start : shard.rows.stop]


def to_digests(digests: bytes | memoryview) -> Digests:
    """Concatenated digests as numbers that can be sorted and compared."""
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)


def hash_shuffle(files: FileTable, seed: int) -> FileTable:
    """The files in the order of the data set: by BLAKE2b of (seed, path), which does not depend on their order or number."""
    return files.take(sort_digests(order_digests(files, seed)))


def sort_digests(digests: Digests) -> Indices:
    """Numbers of the digests in ascending order, int64 [n]."""
    return np.lexsort((digests[:, 1], digests[:, 0]))


def holdout_order(files: FileTable, seed: int) -> Indices:
    """Numbers of the files in the order in which they are held out, int64 [n]: by the second half of the digests of
    `hash_shuffle`, because those that come first in its own order would all be in the first shards."""
    return np.argsort(order_digests(files, seed)[:, 1], kind="stable")


def order_digests(files: FileTable, seed: int) -> Digests:
    """The digests that decide the order of files; see `hash_shuffle`."""
    digests = bytearray()
    for index in range(len(files)):
        digests += _order_digest(files, index, seed)
    return to_digests(bytes(digests))


def _order_digest(files: FileTable, index: int, seed: int) -> bytes:
    key = seed.to_bytes(8, "little", signed=True)
    return hashlib.blake2b(files.name(index), digest_size=DIGEST_BYTES, key=key).digest()


def group_by_digest(digests: Digests) -> Indices:
    """A group number for each digest, int64 [n]: equal digests have equal numbers."""
    order = sort_digests(digests)
    differs = np.zeros(max(0, len(digests) - 1), bool)
    for column in digests.T:  # one after the other, for the memory
        in_order = column[order]
        differs |= in_order[1:] != in_order[:-1]
    groups = np.zeros(len(digests), np.int64)
    groups[order[1:]] = np.cumsum(differs)
    return groups


def is_first_occurrence(groups: Indices) -> npt.NDArray[np.bool_]:
    """True for the first member of each group, [n]."""
    is_first = np.zeros(len(groups), bool)
    firsts = np.full(groups.max(initial=-1) + 1, -1)
    firsts[groups[::-1]] = np.arange(len(groups))[::-1]  # of equal groups, the last assignment stays
    is_first[firsts[firsts >= 0]] = True
    return is_first


def holdout_counts(counts: Sequence[int], total: int) -> list[int]:
    """How many images of each class to hold out, `total` in all, in proportion to the sizes of the classes.

    What rounding leaves over, and what a class cannot give, goes to the classes with the largest remainders. One image of each
    class is left for training.

    Args:
        counts: images of each class.
        total: images to hold out.
    """
    limits, images = [max(0, count - 1) for count in counts], max(1, sum(counts))
    exact = [total * count / images for count in counts]
    result = [min(int(share), limit) for share, limit in zip(exact, limits, strict=True)]
    room = [limit - given for limit, given in zip(limits, result, strict=True)]
    lacking = min(total, sum(limits)) - sum(result)
    # So many more for each class that has room; then one for some of them.
    most = max(room, default=0)
    rounds = bisect_right(range(1, most + 1), lacking, key=lambda rounds: sum(min(r, rounds) for r in room))
    result = [given + min(r, rounds) for given, r in zip(result, room, strict=True)]
    lacking -= sum(min(r, rounds) for r in room)
    below_limit = [i for i in range(len(counts)) if result[i] < limits[i]]
    for i in sorted(below_limit, key=lambda i: (result[i] - exact[i], i))[:lacking]:
        result[i] += 1
    return result


def select_holdout(labels: npt.NDArray[np.int32], groups: Indices, counts: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which of these images, in their order, are held out for validation, [n].

    Identical images (one group) stay together. Groups with several labels are not held out. The first groups of each class
    that fit into its count are held out, so a class may give a few less, and never all of its images.

    Args:
        labels: class numbers from 1, [n].
        groups: see `group_by_digest`, [n].
        counts: images to hold out of each class.
    """
    sizes = np.bincount(groups)
    lowest, highest = np.full(len(sizes), np.iinfo(np.int32).max, np.int32), np.zeros(len(sizes), np.int32)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    quota = [0, *counts]
    is_heldout = np.zeros(len(sizes), bool)
    for group in groups[is_first_occurrence(groups)]:
        label = highest[group]
        if lowest[group] == label and sizes[group] <= quota[label]:
            is_heldout[group] = True
            quota[label] -= sizes[group]
    return is_heldout[groups]


def split_into_shards(split: Split, files: FileTable, rows: Indices, count: int, seed: int) -> list[ShardRange]:
    """The `count` shards of a split.

    Each shard has an equal part of the range of `hash_shuffle`'s digests. So no image moves to another shard when others are
    added or removed, and sizes differ by chance; with few images some shards are empty.

    Args:
        files: in the order of `hash_shuffle` with this seed.
        rows: the files that are stored, ascending.
    """

    def high(position: int) -> int:
        return int.from_bytes(_order_digest(files, int(rows[position]), seed)[:8], "big")

    bounds = [bisect_left(range(len(rows)), i * 2**64 // count, key=high) for i in range(count)] + [len(rows)]
    return [ShardRange(split, f"{split}-{i:05d}-of-{count:05d}", range(bounds[i], bounds[i + 1])) for i in range(count)]
