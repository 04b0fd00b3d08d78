import threading
from pathlib import Path

import numpy as np
import pytest

from shardtune.errors import DataError
from shardtune.input.batch_records import BatchPlan, BatchRecords
from shardtune.input.order import Indices
from tests.input.shards import corrupt, reader_of, write
from tests.records import records


def plan_of(batches: int, size: int) -> BatchPlan:
    def select(number: int) -> tuple[Indices, Indices]:
        examples = np.arange(number * size, (number + 1) * size)
        return examples, np.stack([examples, 100 + examples], axis=1)

    return BatchPlan(range(batches), [(0, size)], select)


@pytest.mark.parametrize("max_records", [1, 6, 12, 100])
def test_all_records_come_in_order(tmp_path: Path, max_records: int) -> None:
    data = write(tmp_path, [24])
    records_of = BatchRecords(reader_of(data), plan_of(12, 2), max_records)
    parts = [records_of.take(first) for first in range(0, 12, records_of.batches_per_read)]
    assert [record for part, _ in parts for record in part] == records(data, "train")
    assert np.concatenate([seeds for _, seeds in parts]).tolist() == [[example, 100 + example] for example in range(24)]
    records_of.close()


def test_a_thread_of_its_own_reads_as_far_ahead_as_memory_permits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardtune.input.batch_records.RECORDS_PER_READ", 2)
    reader = reader_of(write(tmp_path, [24]))
    read, begun, threads, done = reader.read, [], set(), threading.Semaphore(0)

    def noted_read(indices: Indices) -> list[bytes]:
        begun.append(int(indices[0]))
        threads.add(threading.current_thread())
        found = read(indices)
        done.release()
        return found

    monkeypatch.setattr(reader, "read", noted_read)
    records_of = BatchRecords(reader, plan_of(12, 2), max_records=10)  # five reads, of which the caller has two
    records_of.take(0)
    for _ in range(4):
        assert done.acquire(timeout=600)
    records_of.close()
    assert begun == [0, 2, 4, 6], "the next three are read while the caller uses the first"
    assert threading.current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_the_first_error_is_kept_as_it_was_raised(tmp_path: Path) -> None:
    corrupt(write(tmp_path, [24]), [9, 13])
    records_of = BatchRecords(reader_of(tmp_path), plan_of(6, 4), max_records=4)
    for first in (0, 1):
        records_of.take(first)
    with pytest.raises(DataError, match="Corrupt record 9"):
        records_of.take(2)
    with pytest.raises(DataError, match="Corrupt record 13"):
        records_of.take(3)
    records_of.close()
    assert "Corrupt record 9" in str(records_of.error)
