"""What a data set has of each record, in manifest order: where it is (`records.bin`), and its label (`labels.bin`)."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardtune.dataset.manifest import MANIFEST_NAME, Manifest
from shardtune.dataset.splits import SPLITS, Split
from shardtune.errors import DataError
from shardtune.runtime.files import atomic_write, read_bytes

RECORDS_NAME = "records.bin"
LABEL_COLUMN_NAME = "labels.bin"
# Of each record: the byte of its shard where it starts, and the masked CRC-32C of its data, by which a different record at
# that byte is found.
RECORD_DTYPE = np.dtype([("start", "<u8"), ("crc", "<u4")])
RecordIndex = npt.NDArray[np.void]  # [number of records], of RECORD_DTYPE
LABEL_DTYPE = np.dtype("<u4")  # of `labels.bin`, by which the examples of a class are found without a read of others
LabelColumn = npt.NDArray[np.uint32]  # [number of records], of LABEL_DTYPE


def save_record_index(directory: Path, records: RecordIndex) -> str:
    """Write `directory/records.bin`: start and CRC of every record, in manifest order. Returns the SHA-256 of the file."""
    data = records.astype(RECORD_DTYPE).tobytes()
    with atomic_write(directory / RECORDS_NAME) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def load_record_index(directory: Path, manifest: Manifest) -> dict[Split, RecordIndex]:
    """For each split, start and CRC of each record, in manifest order.

    Raises:
        DataError: `records.bin` is missing or does not belong to the manifest.
    """
    return _load_column(directory / RECORDS_NAME, RECORD_DTYPE, manifest.records_sha256, manifest)


def load_label_column(directory: Path, manifest: Manifest) -> dict[Split, LabelColumn] | None:
    """For each split, the label of each record, in manifest order; None if the data set is older than `labels.bin`.

    Raises:
        DataError: `labels.bin` is missing or does not belong to the manifest.
    """
    sha256 = manifest.reports.get(LABEL_COLUMN_NAME)
    return None if sha256 is None else _load_column(directory / LABEL_COLUMN_NAME, LABEL_DTYPE, sha256, manifest)


def _load_column(path: Path, dtype: "np.dtype[Any]", sha256: str, manifest: Manifest) -> dict[Split, npt.NDArray[Any]]:
    """For each split, the values in a file with one for each record."""
    data = read_bytes(path) if path.is_file() else b""
    ends = np.cumsum([manifest.examples(split) for split in SPLITS])
    if hashlib.sha256(data).hexdigest() != sha256 or len(data) != ends[-1] * dtype.itemsize:
        raise DataError(
            f"{path} is missing or does not belong to {MANIFEST_NAME}.",
            "Restore it from a copy, or build the data set again, with --overwrite.",
        )
    return dict(zip(SPLITS, np.split(np.frombuffer(data, dtype), ends[:-1]), strict=True))
