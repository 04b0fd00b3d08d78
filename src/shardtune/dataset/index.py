"""Open a data set: one that `shardtune build` made, or shards of another tool in the layout of research/inception.

The latter have no dataset.json. A single pass over all records makes one, with its records.bin: the index. It is kept in a
hidden folder beside the shards or, where that cannot be written, in the user's cache directory.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from shardtune.dataset.columns import RECORD_DTYPE, RecordIndex, load_record_index, save_record_index
from shardtune.dataset.example import decode_example
from shardtune.dataset.manifest import LABELS_NAME, MANIFEST_NAME, WORK_NAME, Manifest, Shard
from shardtune.dataset.splits import Split
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, data_length, stored_crc, unframe
from shardtune.errors import DataError
from shardtune.runtime.cache import cache_directory
from shardtune.runtime.files import filename_in_errors, list_matching, read_bytes
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.sealed import read_sealed, write_sealed
from shardtune.runtime.world import World

INDEX_NAME = ".shardtune-index"
VERSION = 1
FILE_STAMPS_NAME = "files.json"  # sizes and times of the files that the index was made from; written last
MAX_LABEL = 1_000_000  # a number above it is not a label, but damage
INDEXED: tuple[Split, ...] = ("train", "validation")  # splits of another tool's shards: a test split may have no labels


@dataclass
class _ShardSummary:
    """The contents of one shard.

    Attributes:
        records: start and CRC of each.
        class_counts: examples of each label.
        class_names: of each label.
    """

    name: str
    bytes: int
    sha256: str = ""
    records: list[tuple[int, int]] = field(default_factory=list)
    class_counts: dict[int, int] = field(default_factory=dict)
    class_names: dict[int, str] = field(default_factory=dict)


def open_data_set(directory: Path, world: World) -> tuple[Manifest, dict[Split, RecordIndex]]:
    """The manifest of a data directory, and start and CRC of each record. Only for rank 0: it may write an index.

    Raises:
        DataError: there are no shards, some are missing or damaged, or their build has not finished.
    """
    names = {split: _shard_names(directory, split) for split in INDEXED}
    if (directory / MANIFEST_NAME).exists() or not any(names.values()):
        return _load(directory)
    if (directory / WORK_NAME).exists():
        raise DataError(
            f"{directory} has no {MANIFEST_NAME}: its build has not finished.", "Run the same shardtune build again."
        )
    files = [directory / name for name in (*chain(*names.values()), LABELS_NAME) if (directory / name).exists()]
    file_stamps = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    folders = (directory / INDEX_NAME, _cache_folder(directory))
    for folder in folders:
        try:
            if read_sealed(folder / FILE_STAMPS_NAME, VERSION) == {"files": file_stamps}:
                return _load(folder)
        except (OSError, DataError):
            pass  # no index, or a damaged one: a new one replaces it
    shards = _scan_splits(directory, names, world)
    labels = _class_names(directory, list(chain(*shards.values())))
    try:
        folder = _save(folders[0], labels, shards, file_stamps)
    except OSError:
        folder = _save(folders[1], labels, shards, file_stamps)
    print_on_root(world, f"{directory} has no {MANIFEST_NAME}: its index is kept in {folder}.")
    return _load(folder)


def _load(folder: Path) -> tuple[Manifest, dict[Split, RecordIndex]]:
    manifest = Manifest.load(folder)
    return manifest, load_record_index(folder, manifest)


def _cache_folder(directory: Path) -> Path:
    return cache_directory() / hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:32]


def _shard_names(directory: Path, split: Split) -> list[str]:
    """File names of the shards of a split, in order.

    Raises:
        DataError: a shard is missing, or belongs to another split of more or fewer shards.
    """
    names = [path.name for path in list_matching(directory, f"{split}-?????-of-?????")]
    if names:
        count = names[0].rpartition("-")[2]
        expected = [f"{split}-{number:05d}-of-{count}" for number in range(int(count) if count.isdecimal() else 0)]
        missing_or_extra = sorted(set(names) ^ set(expected))
        if missing_or_extra and missing_or_extra[0] in expected:
            raise DataError(
                f"{directory / missing_or_extra[0]} is missing: the {split} split has {len(expected)} shards.",
                "Restore it from a copy.",
            )
        if missing_or_extra:
            raise DataError(
                f"{directory / missing_or_extra[0]} does not belong to the other {split} shards.",
                "Keep the shards of one data set in a directory.",
            )
    return names


def _scan_splits(directory: Path, names: dict[Split, list[str]], world: World) -> dict[Split, list[_ShardSummary]]:
    """Read all shards, whose `names` are in order; raises as `_scan`."""
    shards: dict[Split, list[_ShardSummary]] = {split: [] for split in names}
    with ProgressReporter(world, "shards", sum(map(len, names.values()))) as progress:
        for split in names:
            for name in names[split]:
                shards[split].append(_scan(directory / name, world))
                progress.advance()
    return shards


def _scan(path: Path, world: World) -> _ShardSummary:
    """Read one shard.

    Raises:
        DataError: the length of a record is damaged, so the next record cannot be found, or a label is missing or wrong.
    """
    summary, digest = _ShardSummary(path.name, path.stat().st_size), hashlib.sha256()
    for start, record in _records(path):
        world.guard.heartbeat(f"at byte {start} of {path.name}")
        digest.update(record)
        summary.records.append((start, stored_crc(record)))
        try:
            example = unframe(record)
        except ValueError:
            continue  # the reader reports or skips a corrupt record
        try:
            label, name = _label_and_name(example)
        except ValueError as error:
            raise DataError(
                f"The record at byte {start} of {path} is not a tf.train.Example with the fields of research/inception "
                f"({error}).",
                "Choose another data_dir, or write such records: image/class/label is a number, image/class/text a text.",
            ) from error
        if not 1 <= label <= MAX_LABEL:
            raise DataError(
                f"The record at byte {start} of {path} has {f'label {label}' if label >= 0 else 'no label'}.",
                f"Number the classes from 1 to {MAX_LABEL} in image/class/label: label 0 is the background class.",
            )
        summary.class_counts[label] = summary.class_counts.get(label, 0) + 1
        summary.class_names.setdefault(label, name)
    summary.sha256 = digest.hexdigest()
    return summary


def _label_and_name(example: bytes) -> tuple[int, str]:
    """Label, or −1 if there is none, and name of the class of an Example.

    Raises:
        ValueError: these bytes are not an Example, or its label or name has another type.
    """
    features = decode_example(example)
    labels, names = features.get("image/class/label") or [-1], features.get("image/class/text") or [b""]
    if len(labels) != 1 or not isinstance(labels[0], int):
        raise ValueError("image/class/label is not one number")
    if len(names) != 1 or not isinstance(names[0], bytes):
        raise ValueError("image/class/text is not one text")
    return labels[0], names[0].decode(errors="replace")


def read_record_index(path: Path) -> RecordIndex:
    """Start and CRC of each record of a shard; raises as `_records`."""
    return np.array([(start, stored_crc(record)) for start, record in _records(path)], RECORD_DTYPE)


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Start and bytes of each record of a shard.

    Raises:
        DataError: the length of a record is damaged, or the file ends within a record.
    """
    with filename_in_errors(path), path.open("rb", buffering=1 << 20) as file:
        start = 0
        while header := file.read(HEADER_BYTES):
            try:
                size = data_length(header) + FOOTER_BYTES
                rest = file.read(size)
                if len(rest) < size:
                    raise ValueError("the file ends within it")
            except ValueError as error:
                raise DataError(
                    f"The record at byte {start} of {path} is damaged: {error}.", "Restore the shard from a copy."
                ) from None
            yield start, header + rest
            start += len(header) + size


def _class_names(directory: Path, shards: list[_ShardSummary]) -> list[str]:
    """The name of each label from 1 on: from labels.txt if that exists, else from the records.

    Raises:
        DataError: records have labels that labels.txt does not list.
    """
    highest = max((label for shard in shards for label in shard.class_counts), default=0)
    path = directory / LABELS_NAME
    if path.exists():
        listed = [line.strip() for line in read_bytes(path).decode(errors="replace").splitlines() if line.strip()]
        if highest > len(listed):
            raise DataError(
                f"{path} has {len(listed)} name(s), but records have label {highest}.",
                "Add the missing names, one a line from label 1 on, or remove the file to use the names in the records.",
            )
        return listed
    names: dict[int, str] = {}
    for shard in shards:
        names = shard.class_names | names
    return [names.get(label) or str(label) for label in range(1, highest + 1)]


def _save(folder: Path, labels: list[str], shards: dict[Split, list[_ShardSummary]], file_stamps: list[list[object]]) -> Path:
    """Write an index to `folder` and return `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [record for shard in chain(*shards.values()) for record in shard.records]
    Manifest(
        labels=labels,
        splits={split: [Shard(s.name, len(s.records), s.bytes, s.sha256) for s in shards[split]] for split in shards},
        class_counts={
            split: [sum(shard.class_counts.get(label, 0) for shard in shards[split]) for label in range(1, len(labels) + 1)]
            for split in shards
        },
        records_sha256=save_record_index(folder, np.array(records, RECORD_DTYPE)),
        provenance={"made by": "another tool; this is an index of its shards"},
    ).save(folder)
    write_sealed(folder / FILE_STAMPS_NAME, VERSION, {"files": file_stamps})
    return folder
