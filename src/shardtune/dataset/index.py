"""Opening a data set: one that `shardtune build` made, or shards of another tool in the layout of research/inception.

The latter have no dataset.json. They get one, with its records.bin, from a single pass over all records; both are kept
in a hidden folder beside the shards, or among the person's cached files where that cannot be written.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from shardtune.dataset.example import decode_example
from shardtune.dataset.manifest import (
    LABELS_NAME,
    MANIFEST_NAME,
    RECORD_DTYPE,
    SPLITS,
    WORK_NAME,
    Manifest,
    RecordIndex,
    Shard,
    Split,
    load_record_index,
    save_record_index,
)
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, data_length, stored_crc, unframe
from shardtune.errors import DataError
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.sealed import read_sealed, write_sealed
from shardtune.runtime.world import World

INDEX_NAME = ".shardtune-index"
VERSION = 1
FILE_STAMPS_NAME = "files.json"  # sizes and times of what the index was made from; written last
MAX_LABEL = 1_000_000  # above it, a label is nonsense


@dataclass
class _Scanned:
    """What one shard holds: digest of all bytes, place and CRC of each record, how many have each label, and its name."""

    name: str
    bytes: int
    sha256: str = ""
    records: list[tuple[int, int]] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)


def open_data_set(directory: Path, world: World) -> tuple[Manifest, dict[Split, RecordIndex]]:
    """The manifest of a data directory, and place and CRC of each record. For rank 0: an index may have to be written.

    Raises:
        DataError: there are no shards, some are missing or damaged, or a build of them has not finished.
    """
    names = {split: _shard_names(directory, split) for split in SPLITS}
    if (directory / MANIFEST_NAME).exists() or not any(names.values()):
        return _load(directory)
    if (directory / WORK_NAME).exists():
        raise DataError(f"A build ends with {MANIFEST_NAME}, but {directory} has none: run the same shardtune build again.")
    files = [directory / name for name in (*chain(*names.values()), LABELS_NAME) if (directory / name).exists()]
    evidence = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    folders = (directory / INDEX_NAME, _cache_folder(directory))
    for folder in folders:
        try:
            if read_sealed(folder / FILE_STAMPS_NAME, VERSION) == {"files": evidence}:
                return _load(folder)
        except (OSError, DataError):
            pass  # there is none, or it is damaged: a new one takes its place
    scanned: dict[Split, list[_Scanned]] = {split: [] for split in SPLITS}
    with ProgressReporter(world, "shards", sum(map(len, names.values()))) as progress:
        for split in SPLITS:
            for name in names[split]:
                scanned[split].append(_scan(directory / name, world))
                progress.advance()
    labels = _labels(directory, [shard for split in SPLITS for shard in scanned[split]])
    try:
        folder = _save(folders[0], labels, scanned, evidence)
    except OSError:
        folder = _save(folders[1], labels, scanned, evidence)
    print_on_root(world, f"{directory} has no {MANIFEST_NAME}: its index is kept in {folder}.")
    return _load(folder)


def _load(folder: Path) -> tuple[Manifest, dict[Split, RecordIndex]]:
    manifest = Manifest.load(folder)
    return manifest, load_record_index(folder, manifest)


def _cache_folder(directory: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "shardtune" / hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:32]


def _shard_names(directory: Path, split: Split) -> list[str]:
    """The shards of a split, in order.

    Raises:
        DataError: one of them is missing.
    """
    names = sorted(path.name for path in directory.glob(f"{split}-?????-of-?????"))
    if names:
        count = names[0].rpartition("-")[2]
        expected = [f"{split}-{number:05d}-of-{count}" for number in range(int(count) if count.isdecimal() else 0)]
        odd = sorted(set(names) ^ set(expected))
        if odd:
            what = "is missing" if odd[0] in expected else "does not belong to them"
            raise DataError(f"{directory} holds all shards of one {split} split, but {odd[0]} {what}: restore or remove it.")
    return names


def _scan(path: Path, world: World) -> _Scanned:
    """Go through one shard.

    Raises:
        DataError: the length of a record is damaged, so that what follows it cannot be found, or a label is none.
    """
    scanned, digest = _Scanned(path.name, path.stat().st_size), hashlib.sha256()
    for start, record in _records(path):
        world.guard.heartbeat(f"at byte {start} of {path.name}")
        digest.update(record)
        scanned.records.append((start, stored_crc(record)))
        try:
            example = unframe(record)
        except ValueError:
            continue  # a corrupt record is what the reader reports, or skips
        try:
            label, text = _label(example)
        except ValueError as error:
            raise DataError(
                f"Every record is a tf.train.Example with the fields of research/inception, but the one at byte {start} of "
                f"{path} is not: give another data_dir."
            ) from error
        if not 1 <= label <= MAX_LABEL:
            raise DataError(
                f"image/class/label is 1 to {MAX_LABEL}, as label 0 is the background class, but the record at byte {start} "
                f"of {path} has {label if label >= 0 else 'none'}: number the classes from 1."
            )
        scanned.counts[label] = scanned.counts.get(label, 0) + 1
        scanned.texts.setdefault(label, text)
    scanned.sha256 = digest.hexdigest()
    return scanned


def _label(example: bytes) -> tuple[int, str]:
    """Class number, -1 where there is none, and class name.

    Raises:
        ValueError: this is no Example, or its label or name is none.
    """
    features = decode_example(example)
    labels, texts = features.get("image/class/label") or [-1], features.get("image/class/text") or [b""]
    if len(labels) != 1 or len(texts) != 1 or not isinstance(labels[0], int) or not isinstance(texts[0], bytes):
        raise ValueError("image/class/label is a number, image/class/text a text")
    return labels[0], texts[0].decode(errors="replace")


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Start and bytes of each record of a shard."""
    with path.open("rb", buffering=1 << 20) as file:
        start = 0
        while header := file.read(HEADER_BYTES):
            try:
                size = data_length(header) + FOOTER_BYTES
                rest = file.read(size)
                if len(rest) < size:
                    raise ValueError("the file ends within it")
            except ValueError as error:
                raise DataError(
                    f"A shard is a sequence of whole records, but of the one at byte {start} of {path}, {error}: "
                    f"restore the shard from a copy."
                ) from None
            yield start, header + rest
            start += len(header) + size


def _labels(directory: Path, shards: list[_Scanned]) -> list[str]:
    """The name of each label from 1 on: from labels.txt, or else from the records.

    Raises:
        DataError: records have labels that labels.txt does not list.
    """
    highest = max((label for shard in shards for label in shard.counts), default=0)
    path = directory / LABELS_NAME
    if path.exists():
        listed = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        if highest > len(listed):
            raise DataError(
                f"{path} names each label on a line, the first of label 1, but it has {len(listed)} and records have label "
                f"{highest}: add the missing names, or remove the file to take those that the records hold."
            )
        return listed
    texts: dict[int, str] = {}
    for shard in shards:
        texts = shard.texts | texts
    return [texts.get(label) or str(label) for label in range(1, highest + 1)]


def _save(folder: Path, labels: list[str], scanned: dict[Split, list[_Scanned]], evidence: list[list[object]]) -> Path:
    """Write an index to `folder` and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = [record for split in SPLITS for shard in scanned[split] for record in shard.records]
    Manifest(
        labels=labels,
        splits={split: [Shard(s.name, len(s.records), s.bytes, s.sha256) for s in scanned[split]] for split in SPLITS},
        class_counts={
            split: [sum(shard.counts.get(label, 0) for shard in scanned[split]) for label in range(1, len(labels) + 1)]
            for split in SPLITS
        },
        records_sha256=save_record_index(folder, np.array(everything, RECORD_DTYPE)),
        provenance={"made by": "another tool; this is an index of its shards"},
    ).save(folder)
    write_sealed(folder / FILE_STAMPS_NAME, VERSION, {"files": evidence})
    return folder
