"""Records of a data set by their number: one read each, CRC checked, from any thread."""

import os
from pathlib import Path

import numpy as np

from shardtune.dataset.manifest import Manifest, Split, read_offsets
from shardtune.dataset.tfrecord import unframe
from shardtune.errors import DataError
from shardtune.input.order import Indices


class RecordReader:
    """Random access to the serialized tf.train.Examples of one split.

    Raises:
        DataError: at once if a shard is missing or has another length than the manifest says;
            on `read` if a record is damaged.
    """

    def __init__(self, directory: Path, manifest: Manifest, split: Split) -> None:
        shards = manifest.splits[split]
        self._paths = [directory / shard.name for shard in shards]
        self._starts = read_offsets(directory, manifest)[split].astype(np.int64)
        first = np.cumsum([0] + [shard.examples for shard in shards])
        self._shard_of = np.repeat(np.arange(len(shards)), np.diff(first))
        # A record ends where the next of its shard starts, the last one with the shard.
        self._ends = np.append(self._starts[1:], 0)
        for number, (path, shard) in enumerate(zip(self._paths, shards, strict=True)):
            actual = path.stat().st_size if path.is_file() else None
            if actual != shard.bytes:
                found = "is missing" if actual is None else f"has {actual} bytes"
                raise DataError(f"{path} has {shard.bytes} bytes by its manifest, but it {found}: build it again.")
            if shard.examples:
                self._ends[first[number + 1] - 1] = shard.bytes
        self.failure: DataError | None = None
        self._files = [os.open(path, os.O_RDONLY) for path in self._paths]

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, indices: Indices) -> list[bytes]:
        """The examples numbered `indices`, in that order."""
        return [self._read_one(int(index)) for index in indices]

    def _read_one(self, index: int) -> bytes:
        shard, start = self._shard_of[index], int(self._starts[index])
        try:
            return unframe(os.pread(self._files[shard], int(self._ends[index]) - start, start))
        except ValueError as error:
            # Kept, because what is raised inside tf.data comes out as TensorFlow's own error.
            self.failure = DataError(
                f"Every record passes its CRC, but in record {index} of its split, at byte {start} of "
                f"{self._paths[shard]}, {error}: restore the shard from a copy or build the data set again."
            )
            raise self.failure from error
