"""Shards as TensorFlow reads them: the second opinion on what shardtune wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from shardtune.dataset.example import Feature
from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import Split


def by_tensorflow(features: Mapping[str, Feature]) -> tf.train.Example:
    def feature(values: Feature) -> tf.train.Feature:
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    return tf.train.Example(features=tf.train.Features(feature={name: feature(value) for name, value in features.items()}))


def fields(record: bytes) -> dict[str, Any]:
    """The features of a serialized tf.train.Example, each a single int or bytes."""
    features = tf.train.Example.FromString(record).features.feature
    values = {name: (*feature.int64_list.value, *feature.bytes_list.value) for name, feature in features.items()}
    assert all(len(value) == 1 for value in values.values())
    return {name: value[0] for name, value in values.items()}


def records(directory: Path, split: Split) -> list[bytes]:
    """All records of a split in manifest order."""
    paths = [str(directory / shard.name) for shard in Manifest.load(directory).splits.get(split, [])]
    return list(tf.data.TFRecordDataset(paths).as_numpy_iterator())


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a data directory but what is kept for the next attempt at building it."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
