"""One input pipeline, run for itself so that its memory is its own.

usage: python -m tests.benchmarks.pipelines {ours,late,idiomatic,limit}-{none,light,inception} DATA BATCHES

ours is shardtune's with that --augment. late is the same where each read takes 5 ms, as over a network. idiomatic is what
TensorFlow's guides have: TFRecordDataset, interleave, a shuffle buffer, the same crop, resize and flip, and with inception its
colour changes. limit is the same crop, decode and resize of JPEGs that are in memory, and nothing else. Prints images/s, images
per second of CPU time, and the peak of the resident set in MB after half of the batches and after all.
"""

import errno
import os
import resource
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

from shardtune.dataset.columns import load_record_index
from shardtune.dataset.manifest import Manifest
from shardtune.input.pipeline import InputOptions, parse, training_batches
from shardtune.input.reader import RecordReader
from shardtune.runtime.world import World

BATCH, SIZE, WARM_UP = 32, 299, 20  # batches
AREAS = {"light": 0.35, "inception": 0.05}  # smallest crops
SHUFFLE_BUFFER = 1024
CORES = len(os.sched_getaffinity(0))


def reader_of(data: Path) -> RecordReader:
    manifest = Manifest.load(data)
    return RecordReader(data, manifest, "train", load_record_index(data, manifest)["train"])


def ours(data: Path, augmentation: Any) -> Iterator[Any]:
    options = InputOptions(image_size=SIZE, num_threads=CORES, augmentation=augmentation)
    return training_batches(reader_of(data), World(), options, global_batch_size=BATCH, first_step=0)


def late(data: Path, augmentation: Any) -> Iterator[Any]:
    pread = os.pread

    def wait(*arguments: int) -> bytes:
        time.sleep(0.005)
        return pread(*arguments)

    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "memory holds nothing of a network")

    os.pread, os.preadv = wait, refuse
    return ours(data, augmentation)


def cropped(jpeg: Any, augmentation: str) -> Any:
    shape = tf.io.extract_jpeg_shape(jpeg)
    if augmentation == "none":
        begin = shape[:2] // 16
        extent = shape[:2] - 2 * begin
    else:
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            min_object_covered=0.1,
            aspect_ratio_range=(0.75, 1.33),
            area_range=(AREAS[augmentation], 1.0),
            use_image_if_no_bounding_boxes=True,
        )
    return tf.io.decode_and_crop_jpeg(jpeg, tf.concat([begin[:2], extent[:2]], 0), channels=3)


def idiomatic(data: Path, augmentation: str) -> Any:
    def decoded(record: Any) -> Any:
        jpeg, label, _ = parse(record, boxes=False)
        image = tf.image.resize(cropped(jpeg, augmentation), (SIZE, SIZE))
        if augmentation != "none":
            image = tf.image.random_flip_left_right(image)
        return (coloured(image / 255.0) * 2.0 if augmentation == "inception" else image / 127.5) - 1.0, label

    options = tf.data.Options()
    options.deterministic = False
    files = tf.data.Dataset.list_files(str(data / "train-*"))
    records = files.interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE, cycle_length=8)
    images = records.repeat().shuffle(SHUFFLE_BUFFER).map(decoded, num_parallel_calls=tf.data.AUTOTUNE)
    return images.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE).with_options(options)


def coloured(image: Any) -> Any:
    """The colour changes of research/inception, in one of its orders."""
    image = tf.image.random_saturation(tf.image.random_brightness(image, 32 / 255), 0.5, 1.5)
    return tf.clip_by_value(tf.image.random_contrast(tf.image.random_hue(image, 0.2), 0.5, 1.5), 0.0, 1.0)


def limit(data: Path, augmentation: str) -> Any:
    reader = reader_of(data)
    jpegs = [parse(record, boxes=False)[0] for record in reader.read(np.arange(len(reader)))]

    def pixel(jpeg: Any) -> Any:
        return tf.image.resize(cropped(jpeg, augmentation), (SIZE, SIZE))[0, 0, 0]  # one: batches then cost nothing

    images = tf.data.Dataset.from_tensor_slices(jpegs).repeat()
    return images.map(pixel, num_parallel_calls=CORES, deterministic=False).batch(BATCH)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str, data: Path, batches: int) -> None:
    kind, _, augmentation = name.partition("-")
    stream = iter({"ours": ours, "late": late, "idiomatic": idiomatic, "limit": limit}[kind](data, augmentation))
    for _ in islice(stream, WARM_UP):
        pass
    started, worked = time.monotonic(), time.process_time()
    for _ in islice(stream, batches // 2):
        pass
    halfway = peak()
    for _ in islice(stream, batches - batches // 2):
        pass
    seconds, work = time.monotonic() - started, time.process_time() - worked
    print(batches * BATCH / seconds, batches * BATCH / work, halfway, peak())
    sys.stdout.flush()
    os._exit(0)  # pipelines that go on for ever need not be waited for


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
