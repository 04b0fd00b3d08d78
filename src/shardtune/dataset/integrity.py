"""Check the files beside the shards of a data set."""

from pathlib import Path

import numpy as np

from shardtune.dataset.columns import RECORDS_NAME, RecordIndex, load_record_index
from shardtune.dataset.manifest import LABELS_NAME, Manifest
from shardtune.errors import DataError
from shardtune.runtime.files import sha256_file


def load_record_index_by_shard(directory: Path, manifest: Manifest) -> list[RecordIndex] | None:
    """Start and CRC of the records of each shard, or None if `records.bin` is missing or damaged."""
    try:
        records = np.concatenate([*load_record_index(directory, manifest).values()])
    except (DataError, OSError):
        return None
    ends = np.cumsum([shard.examples for shard in manifest.shards])
    return np.split(records, ends[:-1])


def check_metadata_files(directory: Path, manifest: Manifest) -> list[str]:
    """A line "name: problem" for each file that is missing or has changed: labels, record index, reports."""
    findings = []
    try:
        labels = (directory / LABELS_NAME).read_bytes()
    except OSError:
        labels = b""
    if labels != manifest.labels_file:
        findings.append(f"{LABELS_NAME}: is missing or does not list the classes of the manifest")
    if _has_changed(directory / RECORDS_NAME, manifest.records_sha256):
        findings.append(
            f"{RECORDS_NAME}: is missing or damaged; without it, a shard is checked only up to its first damaged length"
        )
    for name, digest in manifest.reports.items():
        if _has_changed(directory / name, digest):
            findings.append(f"{name}: is missing or damaged")
    return findings


def _has_changed(path: Path, digest: str) -> bool:
    """Whether a file is missing, cannot be read, or has another SHA-256."""
    try:
        return sha256_file(path) != digest
    except OSError:
        return True
