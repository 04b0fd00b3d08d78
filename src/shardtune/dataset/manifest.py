"""`dataset.json`: what a data directory holds. Written last, so that its presence means that all is there."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shardtune.errors import DataError
from shardtune.runtime.files import atomic_write, write_json
from shardtune.runtime.sealed import json_digest

SCHEMA_VERSION = 2  # 1 had no `reports`; its records hold the source's path in image/filename, and no image/path
MANIFEST_NAME = "dataset.json"
LABELS_NAME = "labels.txt"
RECORDS_NAME = "records.bin"
WORK_NAME = ".shardtune"  # folder of what a build keeps for its next attempt
Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
# Of each record: the byte of its shard where it starts, and the masked CRC-32C of its data, which tells it from any other that
# may come to stand there.
RECORD_DTYPE = np.dtype([("start", "<u8"), ("crc", "<u4")])
RecordIndex = npt.NDArray[np.void]  # of the above


@dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name in the data directory, how many examples and bytes, and the digest of all bytes."""

    name: str
    examples: int
    bytes: int
    sha256: str

    def length_in(self, directory: Path) -> int | None:
        """Bytes of its file in `directory`, or None if that is missing."""
        path = directory / self.name
        return path.stat().st_size if path.is_file() else None


@dataclass(frozen=True)
class Manifest:
    """All that training needs to know of a data set, and the account of how it was made.

    Attributes:
        labels: class names; the name at index i has label i + 1, label 0 is the background class.
        splits: the shards of each split, in order.
        class_counts: examples of each label, in the order of `labels`, for each split.
        records_sha256: digest of `records.bin`.
        provenance: seed, options, codec versions, and how many images were scanned, re-encoded and rejected, and why.
        reports: digests of `rejects.jsonl` and `duplicates.jsonl`, by name; none in schema 1 and in an index.
    """

    labels: list[str]
    splits: dict[str, list[Shard]]
    class_counts: dict[str, list[int]]
    records_sha256: str
    provenance: dict[str, Any]
    reports: dict[str, str] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Outputs of a classifier for this data set: the labels and the background class 0."""
        return len(self.labels) + 1

    @property
    def shards(self) -> list[Shard]:
        """Those of all splits, in order."""
        return [shard for split in SPLITS for shard in self.splits[split]]

    def examples(self, split: Split) -> int:
        return sum(shard.examples for shard in self.splits[split])

    def require_shards(self, directory: Path, split: Split) -> None:
        """Check that the shards of a split are in `directory`, by their lengths.

        Raises:
            DataError: one is missing or has another length.
        """
        for shard in self.splits[split]:
            actual = shard.length_in(directory)
            if actual != shard.bytes:
                raise shard_changed_error(
                    directory / shard.name, shard, "it is missing" if actual is None else f"it has {actual} bytes"
                )

    @property
    def sha256(self) -> str:
        """Digest of all that it holds: equal for equal data sets, wherever they lie."""
        return json_digest(self._value())

    def save(self, directory: Path) -> None:
        """Write `directory/dataset.json`, with a digest of its own content."""
        write_json(directory / MANIFEST_NAME, {**self._value(), "manifest_sha256": self.sha256})

    def _value(self) -> dict[str, Any]:
        value = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        if not self.reports:  # as it was written then, so that its digest is the one that runs remember
            value["schema_version"] = 1
            del value["reports"]
        return value

    @staticmethod
    def load(directory: Path) -> "Manifest":
        """Read and check `directory/dataset.json`.

        Raises:
            DataError: there is none, it is not readable, it is of another schema version, or it was edited.
        """
        path = directory / MANIFEST_NAME
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            version = value["schema_version"]
            if version not in (1, SCHEMA_VERSION):
                raise DataError(
                    f"This shardtune reads data sets of schema 1 to {SCHEMA_VERSION}, {path} has {version}: build it again, or "
                    f"use the shardtune that wrote it."
                )
            if value.pop("manifest_sha256") != json_digest(value):
                raise DataError(
                    f"{path} stays as shardtune build wrote it, but it was edited or damaged: "
                    f"restore it from a copy or build the data set again, with --overwrite."
                )
            manifest = _parsed(value)
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"A data directory holds {MANIFEST_NAME}, but {path} does not exist: run shardtune build first."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{path} is no data set manifest ({error!r}): build the data set again, with --overwrite."
            ) from error
        for name in (*(shard.name for shard in manifest.shards), *manifest.reports):
            if Path(name).name != name:
                raise DataError(f"Shards lie in the data directory itself, not at {name!r}: see {path}.")
        return manifest


def _parsed(value: dict[str, Any]) -> Manifest:
    """The manifest that a JSON value is.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    version, fields = value["schema_version"], {key: part for key, part in value.items() if key != "schema_version"}
    splits = {split: [Shard(**shard) for shard in fields["splits"][split]] for split in SPLITS}
    manifest = Manifest(**{**fields, "splits": splits})
    texts = [
        *manifest.labels,
        manifest.records_sha256,
        *manifest.reports.values(),
        *(part for s in manifest.shards for part in (s.name, s.sha256)),
    ]
    counts = [
        *(count for split in SPLITS for count in manifest.class_counts[split]),
        *(part for s in manifest.shards for part in (s.examples, s.bytes)),
    ]
    if not (
        isinstance(manifest.labels, list)
        and isinstance(manifest.provenance, dict)
        and all(len(manifest.class_counts[split]) == len(manifest.labels) for split in SPLITS)
        and all(isinstance(text, str) for text in texts)
        and all(type(count) is int and 0 <= count < 2**63 for count in counts)
    ):
        raise TypeError("a field has another type")
    if manifest._value()["schema_version"] != version:
        raise ValueError(f"schema {version} has other fields")
    return manifest


def shard_changed_error(path: Path, shard: Shard, found: str) -> DataError:
    """The error about a shard that is not as it was written."""
    return DataError(
        f"{path} has {shard.bytes} bytes by its manifest and stays as written, but {found}: build the data set again, with "
        f"--overwrite; shardtune verify tells what else has changed."
    )


def save_record_index(directory: Path, records: RecordIndex) -> str:
    """Write the place and CRC of every record, all shards in manifest order. Returns the SHA-256 of the file."""
    data = records.astype(RECORD_DTYPE).tobytes()
    with atomic_write(directory / RECORDS_NAME) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def load_record_index(directory: Path, manifest: Manifest) -> dict[Split, RecordIndex]:
    """For each split, the place and CRC of each record, in manifest order.

    Raises:
        DataError: the file is missing or is not the one that the manifest was written with.
    """
    path = directory / RECORDS_NAME
    data = path.read_bytes() if path.is_file() else b""
    examples = sum(manifest.examples(split) for split in SPLITS)
    if hashlib.sha256(data).hexdigest() != manifest.records_sha256 or len(data) != examples * RECORD_DTYPE.itemsize:
        raise DataError(f"{path} is missing or does not belong to {MANIFEST_NAME}: build the data set again, with --overwrite.")
    records = np.frombuffer(data, RECORD_DTYPE)
    train = manifest.examples("train")
    return {"train": records[:train], "validation": records[train:]}
