"""The records of the batches of one rank, read in order on a thread of its own, ahead of their use."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardtune.input.order import Indices
from shardtune.input.reader import RecordReader

RECORDS_PER_READ = 256  # half of those that are mixed with each other, so that many of them are neighbours on disk
WITH_CALLER = 2  # reads that the caller has: it prepares one while it uses another


@dataclass(frozen=True)
class BatchPlan:
    """Which examples the batches of a rank hold.

    Attributes:
        numbers: of its batches, in order.
        bounds: begin and end of each micro-batch in a batch; the last batch may have fewer examples.
        select: from the number of a batch, its examples int64 [n] and the seed of each, int64 [n, 2].
    """

    numbers: range
    bounds: list[tuple[int, int]]
    select: Callable[[int], tuple[Indices, Indices]]

    @property
    def size(self) -> int:
        """Examples of a batch."""
        return self.bounds[-1][1]


class BatchRecords:
    """Reads the records of a plan. Close it, once nobody calls `take`.

    Attributes:
        batches_per_read: so many batches are read at once.
        error: what the first read that failed has raised.

    Args:
        max_records: in memory, together with those that the caller uses; but two reads at least.
    """

    def __init__(self, reader: RecordReader, plan: BatchPlan, max_records: int) -> None:
        self._reader, self._plan = reader, plan
        self.batches_per_read = max(1, min(RECORDS_PER_READ, max_records) // plan.size)
        self.error: Exception | None = None
        self._ahead = max(1, max_records // (self.batches_per_read * plan.size) - WITH_CALLER)
        self._reads: dict[int, Future[tuple[Any, Indices]]] = {}  # those begun, by their first batch
        self._corrupt: dict[int, set[int]] = {}  # of batches that were read, by number
        self._thread = ThreadPoolExecutor(1, "batch-records")

    def close(self) -> None:
        """End the thread, and let records and open files go: TensorFlow keeps for ever what Python gave it, as `take`."""
        self._thread.shutdown(cancel_futures=True)
        self._reads.clear()
        del self._reader

    def take(self, first: int) -> tuple[Any, Indices]:
        """The records of `batches_per_read` batches from the `first` in the plan on, and begin the reads after it.

        Returns:
            records: serialized tf.train.Examples, object [n].
            seeds: of their augmentation, int64 [n, 2].
        """
        step = self.batches_per_read
        for number in range(first, min(first + (self._ahead + 1) * step, len(self._plan.numbers)), step):
            if number not in self._reads:
                self._reads[number] = self._thread.submit(self._read, number)
        return self._reads.pop(first).result()

    def take_corrupt(self, number: int) -> set[int]:
        """The numbers of the corrupt records of a batch that was read."""
        return self._corrupt.pop(number, set())

    def _read(self, first: int) -> tuple[Any, Indices]:
        try:
            numbers = self._plan.numbers[first : first + self.batches_per_read]
            selected = [self._plan.select(number) for number in numbers]
            examples, seeds = (np.concatenate(arrays) for arrays in zip(*selected, strict=True))
            records = self._reader.read(examples)
            for number, (batch, _) in zip(numbers, selected, strict=True):
                if corrupt := self._reader.corrupt.intersection(batch.tolist()):
                    self._corrupt[number] = corrupt
            return np.array(records, object), seeds
        except Exception as error:  # of which TensorFlow would keep only the text
            self.error = self.error or error
            raise
