"""Data sets whose examples can be told apart: label n is example n − 1."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shardtune.dataset.columns import RECORD_DTYPE, load_record_index, save_record_index
from shardtune.dataset.example import encode_example
from shardtune.dataset.manifest import Manifest, Shard
from shardtune.dataset.splits import SPLITS, Split
from shardtune.dataset.tfrecord import frame, stored_crc
from shardtune.input.reader import RecordReader
from tests.pictures import encoded, picture


def write(directory: Path, shards: Sequence[int], split: Split = "train") -> Path:
    """Write a data directory of one split; `shards` are the examples in each shard. Returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(len(shards))
    records, entries, number = [], [], 0
    for position, examples in enumerate(shards):
        content = b""
        for number in range(number + 1, number + examples + 1):  # noqa: B020
            jpeg = encoded(picture(generator, 24, 20), quality=90)
            record = frame(
                encode_example({"image/encoded": [jpeg], "image/class/label": [number], "image/class/text": [b"n%d" % number]})
            )
            records.append((len(content), stored_crc(record)))
            content += record
        name = f"{split}-{position:05d}-of-{len(shards):05d}"
        (directory / name).write_bytes(content)
        entries.append(Shard(name, examples, len(content), ""))
    digest = save_record_index(directory, np.array(records, RECORD_DTYPE))
    splits_there = [name for name in SPLITS if name in ("train", "validation", split)]
    counts = {name: [int(name == split)] * number for name in splits_there}
    splits = {name: entries if name == split else [] for name in splits_there}
    Manifest([f"n{label + 1}" for label in range(number)], splits, counts, digest, {}).save(directory)
    return directory


def reader_of(directory: Path, split: Split = "train", on_corrupt: str = "error") -> RecordReader:
    manifest = Manifest.load(directory)
    return RecordReader(directory, manifest, split, load_record_index(directory, manifest)[split], on_corrupt)  # type: ignore[arg-type]


def repeated(directory: Path, examples: int, times: int) -> RecordReader:
    """A reader of `times` shards of `examples` each, all of them the same file."""
    one = write(directory / "one", [examples])
    (only,) = Manifest.load(one).splits["train"]
    entries = [Shard(f"train-{number:05d}-of-{times:05d}", examples, only.bytes, "") for number in range(times)]
    for entry in entries:
        (directory / entry.name).symlink_to(one / only.name)
    records = np.tile(load_record_index(one, Manifest.load(one))["train"], times)
    counts = {"train": [times] * examples, "validation": [0] * examples}
    manifest = Manifest([f"n{label + 1}" for label in range(examples)], {"train": entries, "validation": []}, counts, "", {})
    return RecordReader(directory, manifest, "train", records)


def corrupt(directory: Path, indices: Sequence[int], split: Split = "train") -> None:
    """Flip a bit in the middle of the records of these examples."""
    manifest = Manifest.load(directory)
    starts = load_record_index(directory, manifest)[split]["start"]
    shards = [shard for shard in manifest.splits[split] for _ in range(shard.examples)]
    for index in indices:
        path = directory / shards[index].name
        content = bytearray(path.read_bytes())
        content[int(starts[index]) + 100] ^= 1
        path.write_bytes(content)
