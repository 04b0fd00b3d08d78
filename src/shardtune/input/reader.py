"""Records of a data set by their number: neighbours in one read, every CRC checked, from any thread."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from shardtune.config import OnCorrupt
from shardtune.dataset.manifest import Manifest, RecordIndex, Split, shard_changed_error
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, data_length, stored_crc, unframe
from shardtune.errors import DataError
from shardtune.input.order import Indices

MAX_OPEN = 128  # files: a process may often have no more than 1,024, and shards may be more
MAX_GAP = 1 << 16  # bytes that are sooner read than skipped: a photograph
MAX_READ = 1 << 23  # bytes


class RecordReader:
    """Random access to the serialized tf.train.Examples of one split.

    Attributes:
        shards: examples in each shard.
        corrupt: numbers of the records that failed their CRC and were skipped so far.

    Args:
        records: of the split, in manifest order.
        on_corrupt: "error" raises where a record fails its CRC; "skip" goes on without it.

    Raises:
        DataError: a shard is missing or has another length than the manifest says.
    """

    def __init__(
        self, directory: Path, manifest: Manifest, split: Split, records: RecordIndex, on_corrupt: OnCorrupt = "error"
    ) -> None:
        self._shards = manifest.splits[split]
        self._paths = [directory / shard.name for shard in self._shards]
        self.shards = tuple(shard.examples for shard in self._shards)
        self._ends = np.cumsum(self.shards, dtype=np.int64)  # number of the first example of the next shard
        self._starts, self._crcs = records["start"].astype(np.int64), records["crc"]
        # A record stops where the next of its shard starts, the last one with the shard.
        self._stops = np.append(self._starts[1:], 0)
        for end, shard in zip(self._ends, self._shards, strict=True):
            if shard.examples:
                self._stops[end - 1] = shard.bytes
        manifest.require_shards(directory, split)
        self._open = lru_cache(MAX_OPEN)(_OpenFile)
        self._skips = on_corrupt == "skip"
        self.corrupt: set[int] = set()

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, indices: Indices) -> list[bytes]:
        """The examples numbered `indices`, in that order, a corrupt one replaced by the next sound one of the split.

        Raises:
            DataError: a record is corrupt and none is to be skipped, or all are; a shard has changed.
        """
        records = zip(indices.tolist(), self._read(indices), strict=True)
        return [self._next_sound(index) if record is None else record for index, record in records]

    def describe_record(self, index: int) -> str:
        """Where record `index` lies, in the words of a message."""
        path = self._paths[int(np.searchsorted(self._ends, index, "right"))]
        return f"record {index} of its split, at byte {self._starts[index]} of {path}"

    def _next_sound(self, index: int) -> bytes:
        """What stands for a corrupt record: decided by the data alone, so every rank of any world decides alike."""
        for step in range(1, len(self)):
            candidate = (index + step) % len(self)
            if candidate not in self.corrupt:  # a damaged shard is not gone through again for each of its records
                (record,) = self._read(np.array([candidate]))
                if record is not None:
                    return record
        raise DataError(
            f"A split has at least one sound record, but all {len(self)} are corrupt: build the data set again, with "
            f"--overwrite."
        )

    def _read(self, indices: Indices) -> list[bytes | None]:
        """The examples numbered `indices`; None for those that are corrupt and to be skipped."""
        places = np.unique(indices)
        shards = np.searchsorted(self._ends, places, "right")
        found: dict[int, bytes | None] = {}
        for shard, first, last in self._runs(places, shards):
            run = places[first:last]
            begin = int(self._starts[run[0]])
            data = memoryview(self._open(self._paths[shard]).read(int(self._stops[run[-1]]) - begin, begin))
            for index in run.tolist():
                found[index] = self._sound(shard, index, data[self._starts[index] - begin : self._stops[index] - begin])
        return [found[index] for index in indices.tolist()]

    def _runs(self, places: Indices, shards: Indices) -> Iterator[tuple[int, int, int]]:
        """Shard, first and last (exclusive) of `places`, which is sorted, of what one read fetches."""
        starts, stops = self._starts[places].tolist(), self._stops[places].tolist()
        first = 0
        for i in range(1, len(places) + 1):
            if (
                i == len(places)
                or shards[i] != shards[first]
                or starts[i] - stops[i - 1] > MAX_GAP
                or stops[i] - starts[first] > MAX_READ
            ):
                yield int(shards[first]), first, i
                first = i

    def _sound(self, shard: int, index: int, record: memoryview) -> bytes | None:
        """The data of a record whose CRCs match."""
        start, size = int(self._starts[index]), int(self._stops[index] - self._starts[index])
        try:
            if len(record) != size or data_length(record[:HEADER_BYTES]) != size - HEADER_BYTES - FOOTER_BYTES:
                raise shard_changed_error(
                    self._paths[shard], self._shards[shard], f"its record at byte {start} has another length"
                )
            data = unframe(record)
        except ValueError as error:
            if self._skips:
                self.corrupt.add(index)
                return None
            raise DataError(
                f"Every record passes its CRC, but in {self.describe_record(index)}, {error}: restore the shard from a copy, build the "
                f"data set again, or leave such records out with --on_corrupt skip."
            ) from error
        if stored_crc(record) != self._crcs[index]:
            raise shard_changed_error(self._paths[shard], self._shards[shard], f"its record at byte {start} is another")
        return data


class _OpenFile:
    """A file that is closed when nobody reads from it any more, the cache of open files included."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)

    def read(self, size: int, start: int) -> bytes:
        return os.pread(self._file, size, start)

    def __del__(self) -> None:
        os.close(self._file)
