"""Random access to the records of a data set: one read for neighbours, every CRC checked, from any thread."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shardtune.config import OnCorrupt
from shardtune.dataset.columns import RecordIndex
from shardtune.dataset.manifest import Manifest, shard_changed_error
from shardtune.dataset.splits import Split
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, data_length, stored_crc, unframe
from shardtune.errors import DataError
from shardtune.input.open_files import OpenFiles, Request
from shardtune.input.order import Indices

MAX_GAP_BYTES = 1 << 16  # reading a gap of this size takes less time than a second read: a photograph
MAX_READ_BYTES = 1 << 23


class RecordReader:
    """Random access to the serialized tf.train.Examples of one split.

    Attributes:
        shard_sizes: examples in each shard.
        corrupt: numbers of the records that have failed their CRC so far, with on_corrupt "skip".

    Args:
        records: of the split, in manifest order.
        on_corrupt: where a record fails its CRC, "error" raises, and "skip" takes another record.

    Raises:
        DataError: a shard is missing or has another length than the manifest says.
    """

    def __init__(
        self, directory: Path, manifest: Manifest, split: Split, records: RecordIndex, on_corrupt: OnCorrupt = "error"
    ) -> None:
        self._shards = manifest.splits.get(split, [])
        self._paths = [directory / shard.name for shard in self._shards]
        self.shard_sizes = tuple(shard.examples for shard in self._shards)
        self._ends = np.cumsum(self.shard_sizes, dtype=np.int64)  # number of the first example of the next shard
        self._starts, self._crcs = records["start"].astype(np.int64), records["crc"]
        # A record stops where the next record of its shard starts; the last one, at the end of the shard.
        self._stops = np.append(self._starts[1:], 0)
        for end, shard in zip(self._ends, self._shards, strict=True):
            if shard.examples:
                self._stops[end - 1] = shard.bytes
        manifest.check_shards(directory, split)
        self._name = f"the {split} split of {directory}"
        self._files = OpenFiles(self._paths)
        self._skips_corrupt = on_corrupt == "skip"
        self.corrupt: set[int] = set()

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, indices: Indices) -> list[bytes]:
        """The examples with the numbers `indices`, in that order. The next valid example replaces one that is skipped.

        Raises:
            DataError: a record is corrupt and on_corrupt is "error", or all records are corrupt; a shard has changed.
        """
        records = zip(indices.tolist(), self._read(indices), strict=True)
        return [self._next_valid(index) if record is None else record for index, record in records]

    def describe_record(self, index: int) -> str:
        """Number, byte and shard of a record, for a message."""
        path = self._paths[int(np.searchsorted(self._ends, index, "right"))]
        return f"record {index} of its split, at byte {self._starts[index]} of {path}"

    def _next_valid(self, index: int) -> bytes:
        """The example that replaces a corrupt one. It depends on the data alone, so it is the same for any world."""
        for step in range(1, len(self)):
            candidate = (index + step) % len(self)
            if candidate not in self.corrupt:  # a damaged shard is not read again for each of its records
                (record,) = self._read(np.array([candidate]))
                if record is not None:
                    return record
        raise DataError(
            f"All {len(self)} record(s) of {self._name} are corrupt.", "Build the data set again, with --overwrite."
        )

    def _read(self, indices: Indices) -> list[bytes | None]:
        """The examples with the numbers `indices`; None for those that are skipped."""
        groups = list(self._coalesce_reads(np.unique(indices)))
        spans = ((shard, int(self._starts[group[0]]), int(self._stops[group[-1]])) for shard, group in groups)
        requests = [Request(shard, end - begin, begin) for shard, begin, end in spans]
        records: dict[int, bytes | None] = {}
        for (shard, group), request, buffer in zip(groups, requests, self._files.read(requests), strict=True):
            data = memoryview(buffer)
            for index in group.tolist():
                record = data[self._starts[index] - request.start : self._stops[index] - request.start]
                records[index] = self._checked_record(shard, index, record)
        return [records[index] for index in indices.tolist()]

    def _coalesce_reads(self, indices: Indices) -> Iterator[tuple[int, Indices]]:
        """The sorted `indices` in groups that one read fetches, each with its shard."""
        shards = np.searchsorted(self._ends, indices, "right")
        starts, stops = self._starts[indices].tolist(), self._stops[indices].tolist()
        first = 0
        for i in range(1, len(indices) + 1):
            if (
                i == len(indices)
                or shards[i] != shards[first]
                or starts[i] - stops[i - 1] > MAX_GAP_BYTES
                or stops[i] - starts[first] > MAX_READ_BYTES
            ):
                yield int(shards[first]), indices[first:i]
                first = i

    def _checked_record(self, shard: int, index: int, record: memoryview) -> bytes | None:
        """The data of a record, or None if its CRCs do not match and it is skipped."""
        start, size = int(self._starts[index]), int(self._stops[index] - self._starts[index])
        try:
            if len(record) != size or data_length(record[:HEADER_BYTES]) != size - HEADER_BYTES - FOOTER_BYTES:
                raise shard_changed_error(
                    self._paths[shard], self._shards[shard], f"its record at byte {start} has another length"
                )
            data = unframe(record)
        except ValueError as error:
            if self._skips_corrupt:
                self.corrupt.add(index)
                return None
            raise DataError(
                f"Corrupt {self.describe_record(index)}: {error}.",
                "Restore the shard from a copy, build the data set again, or pass --on_corrupt skip to leave such records out.",
            ) from error
        if stored_crc(record) != self._crcs[index]:
            raise shard_changed_error(self._paths[shard], self._shards[shard], f"its record at byte {start} is a different one")
        return data
