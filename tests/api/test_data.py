import gc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import shardtune
from shardtune.dataset.index import open_data_set
from shardtune.input.pipeline import InputOptions, training_batches
from shardtune.input.reader import RecordReader
from shardtune.runtime.world import World


def test_training_examples_come_as_train_sees_them(small_data: Path) -> None:
    manifest, records = open_data_set(small_data, World())
    reader = RecordReader(small_data, manifest, "train", records["train"])
    options = InputOptions(75, 1, "light", seed=3)
    expected = training_batches(reader, World(), options, global_batch_size=16, first_step=2)
    ours = shardtune.load_arrays(small_data, batch_size=16, image_size=75, augment="light", seed=3, first_step=2)
    dataset = shardtune.load_dataset(small_data, batch_size=16, image_size=75, augment="light", seed=3, first_step=2)
    assert int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
    for _, ([(images, labels)], _), arrays, tensors in zip(range(5), expected, ours, dataset, strict=False):
        assert (arrays[0].dtype, arrays[1].dtype) == (np.float32, np.int64)
        for each in (arrays, tensors):
            np.testing.assert_array_equal(each[0], images)
            np.testing.assert_array_equal(each[1], labels)


def test_others_come_once_and_in_order(small_data: Path) -> None:
    dataset = shardtune.load_dataset(small_data, "validation", batch_size=8, image_size=75)
    assert len(dataset) == 3
    for _ in range(2):  # epochs
        shapes = [tuple(images.shape) for images, _ in dataset]
        assert shapes == [(8, 75, 75, 3), (8, 75, 75, 3), (5, 75, 75, 3)]
    labels = np.concatenate([labels for _, labels in dataset])
    arrays = shardtune.load_arrays(small_data, "validation", batch_size=8, image_size=75)
    assert np.concatenate([labels for _, labels in arrays]).tolist() == labels.tolist()
    assert sorted(labels.tolist()) == [1] * 7 + [2] * 7 + [3] * 7
    ordered = shardtune.load_arrays(small_data, batch_size=60, image_size=75, shuffle=False)
    assert [len(labels) for _, labels in ordered] == [60]


def test_a_dataset_that_is_dropped_leaves_no_open_shard(small_data: Path) -> None:
    def readers() -> set[int]:
        gc.collect()
        return {id(each) for each in gc.get_objects() if isinstance(each, RecordReader)}

    before = readers()
    for _ in zip(range(2), shardtune.load_dataset(small_data, batch_size=8, image_size=75), strict=False):
        pass
    assert readers() <= before


def test_what_is_wrong_is_said(small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(shardtune.DataError, match=r"^The test split of .* is empty\."):
        shardtune.load_dataset(small_data, "test")
    with pytest.raises(shardtune.DataError):
        shardtune.load_arrays(tmp_path)
    unfit = ({"split": "Train"}, {"batch_size": 2.5}, {"seed": None}, {"augment": "strong"}, {"shuffle": "no"})
    for wrong in ({"batch_size": 0}, {"image_size": 0}, {"seed": -1}, {"first_step": -1}, *unfit):
        with pytest.raises(shardtune.UsageError, match=f"^{next(iter(wrong))} must be "):
            shardtune.load_dataset(small_data, **wrong)  # type: ignore[arg-type]


def test_a_damaged_record_is_named(small_data: Path, tmp_path: Path) -> None:
    for path in small_data.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "validation-00000-of-00002"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    message = "Corrupt record .* of its split, at byte .* of .*validation-00000-of-00002"
    with pytest.raises(shardtune.DataError, match=message):
        list(shardtune.load_arrays(tmp_path, "validation", image_size=75))
    with pytest.raises(tf.errors.OpError, match=message):
        list(shardtune.load_dataset(tmp_path, "validation", image_size=75))
