"""Batches follow the global order on any number of ranks, from any step on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardtune.config import Augmentation
from shardtune.errors import UsageError
from shardtune.input.batch_records import RECORDS_PER_READ
from shardtune.input.order import epoch_permutation, global_batch, micro_batches
from shardtune.input.pipeline import example_seeds, training_batches
from shardtune.runtime.world import World
from tests.input.batches import SIZE, evaluated, labels_and_checksums, options_of, trained_on, trained_on_together
from tests.input.shards import reader_of, repeated, write
from tests.records import fields, records
from tests.schema1 import downgrade


@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any),
    st.integers(1, 9),
    st.integers(0, 12),
    st.integers(0, 2**63 - 1),
    st.integers(0, 10**6),
)
@settings(max_examples=12)
def test_ranks_together_cover_every_epoch_once(
    tmp_path_factory: pytest.TempPathFactory, shards: list[int], ranks: int, more: int, seed: int, epoch: int
) -> None:
    # More ranks than shards, and than examples, included.
    reader = reader_of(write(tmp_path_factory.mktemp("data"), shards))
    size, examples = ranks + more, sum(shards)
    first, last = epoch * examples // size, -(-(epoch + 1) * examples // size)
    seen = trained_on_together(reader, last - first, ranks, size=size, seed=seed, augmentation="none", first_step=first)
    assert [[label - 1 for label, _ in step] for step in seen] == [
        global_batch(shards, seed, step, size)[0].tolist() for step in range(first, last)
    ]
    skipped = epoch * examples - first * size
    laid_out = [label for step in seen for label, _ in step]
    assert sorted(laid_out[skipped : skipped + examples]) == list(range(1, examples + 1))


@pytest.mark.parametrize(
    ("augmentation", "ranks"),
    [("light", 1), pytest.param("light", 2, marks=pytest.mark.exhaustive), ("light", 3), ("inception", 2)],
)
def test_a_run_stopped_anywhere_sees_the_identical_remainder_on_any_number_of_ranks(
    small: Path, augmentation: Augmentation, ranks: int
) -> None:
    steps, size = 6, 5  # 30 examples: more than two epochs
    whole = trained_on_together(reader_of(small), steps, 1, size=size, augmentation=augmentation)
    for first in range(steps):
        options: dict[str, Any] = {
            "size": size,
            "augmentation": augmentation,
            "first_step": first,
            "num_threads": 1 + first % 2,
        }
        assert trained_on_together(reader_of(small), steps - first, ranks, **options) == whole[first:]
    images = [seen for step in whole for seen in step]
    assert len(set(images)) == len(images)  # no two epochs augment an example alike


def test_batches_hold_the_examples_of_the_global_order(small_data: Path) -> None:
    labels = [fields(record)["image/class/label"] for record in records(small_data, "train")]
    reader = reader_of(small_data)
    for step, (images, found) in enumerate(trained_on(reader, 10, size=7)):
        assert images.shape == (7, SIZE, SIZE, 3)
        assert images.dtype == np.float32
        assert found.tolist() == [labels[index] for index in global_batch(reader.shard_sizes, 3, step, 7)[0]]


@pytest.mark.parametrize("factor", [1, 3])
def test_neither_the_queue_nor_what_is_read_at_once_changes_anything(
    small: Path, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained_on_together(reader_of(small), 9, 2, size=4)
    monkeypatch.setattr("shardtune.input.batch_records.RECORDS_PER_READ", 4 * factor)
    assert trained_on_together(reader_of(small), 9, 2, size=4, max_queued_records=6 * factor) == expected


def test_a_seed_is_of_one_example_in_one_epoch_of_one_run() -> None:
    epochs, examples = np.divmod(np.arange(200), 50)
    seen = {tuple(pair) for seed in (0, 1, 2**40, 2**63 - 1) for pair in example_seeds(seed, epochs, examples).tolist()}
    assert len(seen) == 800
    assert example_seeds(1, epochs, examples)[70:].tolist() == example_seeds(1, epochs[70:], examples[70:]).tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_micro_batches_are_the_batch_in_parts(small: Path, count: int) -> None:
    # Of a global batch of 9, two ranks have 4 and 5 examples; some micro-batches are empty.
    for rank in range(2):
        whole = trained_on(reader_of(small), 4, rank, 2, size=9)
        world, options = World(rank, 2, rank, 2), options_of()
        batches = training_batches(reader_of(small), world, options, global_batch_size=9, first_step=0, count=count)
        for (images, labels), (batch, _) in zip(whole, batches, strict=False):
            assert [len(part) for _, part in batch] == [end - begin for begin, end in micro_batches(len(labels), count)]
            assert np.array_equal(np.concatenate([part for part, _ in batch]), images)
            assert np.array_equal(np.concatenate([part for _, part in batch]), labels)


ON_DEVICE = """
import sys
from pathlib import Path
import tensorflow as tf
from shardtune.input.pipeline import InputOptions, training_batches
from shardtune.runtime.world import World
from tests.input.shards import reader_of

cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
options = InputOptions(16, 1, device="/CPU:1")
(images, labels), = next(training_batches(reader_of(Path(sys.argv[1])), World(), options, global_batch_size=4, first_step=0))[0]
print(images.device[-5:], labels.device[-5:])
"""


def test_batches_are_on_the_device_that_trains_on_them(small: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ON_DEVICE, str(small)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["CPU:1", "CPU:1"]


def test_what_is_seen_depends_on_the_seed_and_on_the_augmentation(small: Path) -> None:
    first = trained_on_together(reader_of(small), 2, 1, size=14)
    assert first != trained_on_together(reader_of(small), 2, 1, size=14, seed=4)
    plain = trained_on_together(reader_of(small), 2, 1, size=14, augmentation="none")
    assert sorted(plain[0]) == sorted(plain[1])


def test_a_worker_without_examples_is_refused(small: Path) -> None:
    with pytest.raises(UsageError, match=r"global batch of 2 is too small for 3 workers, .*\. Start at most 2 worker"):
        trained_on(reader_of(small), 1, 0, 3, size=2)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, pytest.param(30, marks=pytest.mark.exhaustive)])  # 5: more than some batches
@pytest.mark.parametrize(("batch_size", "examples"), [(8, 21), (7, 21), (4, 10), (50, 21), (1, 2)])
def test_evaluation_sees_each_example_once_in_the_same_batches(
    small_data: Path, ranks: int, batch_size: int, examples: int
) -> None:
    expected = [fields(record)["image/class/label"] for record in records(small_data, "validation")][:examples]
    reader = reader_of(small_data, "validation")
    alone = evaluated(reader, 0, 1, batch_size, examples)
    assert [label for batch in alone for label, _ in batch] == expected
    parts = [evaluated(reader, rank, ranks, batch_size, examples) for rank in range(ranks)]
    assert len(alone) == -(-examples // batch_size)
    assert {len(part) for part in parts} == {-(-len(alone) // ranks)}, "ranks meet after each batch"
    dealt = [parts[number % ranks][number // ranks] for number in range(len(parts[0]) * ranks)]
    assert dealt == alone + [[]] * (len(dealt) - len(alone))


def test_a_run_resumes_at_the_same_cost_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = repeated(tmp_path, 1000, 1000)
    pread, reads = os.pread, []
    monkeypatch.setattr(os, "pread", lambda *arguments: reads.append(arguments) or pread(*arguments))
    for step in (0, 10**6 // 2 // 64, 10**6 // 64, 10**9):
        reads.clear()
        epoch_permutation.cache_clear()
        ((_, labels),) = trained_on(reader, 1, size=64, first_step=step, augmentation="none")
        assert epoch_permutation.cache_info().misses <= 2
        assert len(reads) <= 6 * RECORDS_PER_READ
        assert labels.tolist() == [index % 1000 + 1 for index in global_batch(reader.shard_sizes, 3, step, 64)[0]]


def test_a_data_set_of_schema_1_gives_the_same_batches(small_data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_data, tmp_path / "copy"))
    downgrade(copy)
    assert reader_of(copy).read(np.arange(1)) != reader_of(small_data).read(np.arange(1))
    for old, new in zip(trained_on(reader_of(copy), 3, size=8), trained_on(reader_of(small_data), 3, size=8), strict=True):
        assert labels_and_checksums(old) == labels_and_checksums(new)
