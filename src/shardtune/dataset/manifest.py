"""`dataset.json`: the contents of a data directory. It is written last: where it exists, the data set is complete."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shardtune.dataset.splits import SPLITS, Split
from shardtune.errors import DataError
from shardtune.runtime.files import read_bytes, write_json
from shardtune.runtime.sealed import json_digest

SCHEMA_VERSION = 2  # schema 1 has no `reports`, and its records have the path in image/filename, not in image/path
TEST_SCHEMA_VERSION = 3  # of a manifest with a test split, which older versions would not understand
MANIFEST_NAME = "dataset.json"
LABELS_NAME = "labels.txt"
WORK_NAME = ".shardtune"  # folder for the files with which an interrupted build resumes


@dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
        name: in the data directory.
        examples, bytes: how many it has.
        sha256: of all bytes, in hexadecimal.
    """

    name: str
    examples: int
    bytes: int
    sha256: str

    def length_in(self, directory: Path) -> int | None:
        """Bytes of the file in `directory`, or None if it is missing."""
        path = directory / self.name
        return path.stat().st_size if path.is_file() else None


@dataclass(frozen=True)
class Manifest:
    """What training needs to know about a data set, and how it was made.

    Attributes:
        labels: class names; the name at index i has label i + 1, label 0 is the background class.
        splits: the shards of each split, in order. There is no "test" in a data set without a test split.
        class_counts: examples of each label, in the order of `labels`, for each split.
        records_sha256: of `records.bin`.
        provenance: seed, options, codec versions, and how many images were scanned, re-encoded and rejected, and why.
        reports: SHA-256 of `rejects.jsonl`, `duplicates.jsonl` and `labels.bin`, by name; empty in schema 1 and in an index.
        words: what people call each class, in the order of `labels`; empty if the build was not told.
    """

    labels: list[str]
    splits: dict[str, list[Shard]]
    class_counts: dict[str, list[int]]
    records_sha256: str
    provenance: dict[str, Any]
    reports: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        """Outputs of a classifier for this data set: the labels and the background class 0."""
        return len(self.labels) + 1

    @property
    def titles(self) -> list[str]:
        """The classes for people: names, each with its words if there are any, as in "n01440764 tench, Tinca tinca"."""
        return [" ".join(title) for title in zip(self.labels, self.words, strict=True)] if self.words else self.labels

    @property
    def labels_file(self) -> bytes:
        """What labels.txt holds."""
        return "".join(f"{name}\n" for name in self.labels).encode()

    @property
    def shards(self) -> list[Shard]:
        """The shards of all splits, in order."""
        return [shard for split in SPLITS for shard in self.splits.get(split, ())]

    def examples(self, split: Split) -> int:
        return sum(shard.examples for shard in self.splits.get(split, ()))

    def check_shards(self, directory: Path, split: Split) -> None:
        """Check that `directory` has the shards of a split, with their lengths.

        Raises:
            DataError: one is missing or has another length.
        """
        for shard in self.splits.get(split, ()):
            actual = shard.length_in(directory)
            if actual != shard.bytes:
                raise shard_changed_error(
                    directory / shard.name, shard, "it is missing" if actual is None else f"it has {actual} bytes"
                )

    @property
    def sha256(self) -> str:
        """Digest of all fields: equal for equal data sets, in any directory."""
        return json_digest(self._as_dict())

    def save(self, directory: Path) -> None:
        """Write `directory/dataset.json`, with the digest of its content."""
        write_json(directory / MANIFEST_NAME, {**self._as_dict(), "manifest_sha256": self.sha256})

    def _as_dict(self) -> dict[str, Any]:
        fields = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        if not self.reports:  # schema 1: its digest has to stay the one in the configuration of runs
            fields["schema_version"] = 1
            del fields["reports"]
        if not self.words:  # as before there were words
            del fields["words"]
        if "test" in self.splits:
            fields["schema_version"] = TEST_SCHEMA_VERSION
        return fields

    @staticmethod
    def load(directory: Path) -> "Manifest":
        """Read and check `directory/dataset.json`.

        Raises:
            DataError: it does not exist, is not readable, has another schema version, or was edited.
        """
        path = directory / MANIFEST_NAME
        try:
            value = json.loads(read_bytes(path))
            version = value["schema_version"]
            if version not in (1, SCHEMA_VERSION, TEST_SCHEMA_VERSION):
                raise DataError(
                    f"{path} has schema {version}, but this shardtune reads schema 1 to {TEST_SCHEMA_VERSION}.",
                    "Build the data set again, with --overwrite, or use the shardtune that wrote it.",
                )
            if value.pop("manifest_sha256") != json_digest(value):
                raise DataError(
                    f"{path} was edited or damaged: its content does not match its digest.",
                    "Restore it from a copy, or build the data set again, with --overwrite.",
                )
            manifest = _parse_manifest(value)
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{path} does not exist.", "Run shardtune build first, or check the path.") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{path} is not a data set manifest ({error!r}).", "Build the data set again, with --overwrite."
            ) from error
        for name in (*(shard.name for shard in manifest.shards), *manifest.reports):
            if Path(name).name != name:
                raise DataError(
                    f"{path} lists {name!r}, which is not the name of a file in its own directory.",
                    "Restore it from a copy, or build the data set again, with --overwrite.",
                )
        return manifest


def _parse_manifest(value: dict[str, Any]) -> Manifest:
    """The manifest from its JSON value.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the value is not a manifest.
    """
    version, fields = value["schema_version"], {name: field for name, field in value.items() if name != "schema_version"}
    names = SPLITS if version == TEST_SCHEMA_VERSION else SPLITS[:2]
    splits = {split: [Shard(**shard) for shard in fields["splits"][split]] for split in names}
    manifest = Manifest(**{**fields, "splits": splits})
    texts = [
        *manifest.labels,
        *manifest.words,
        manifest.records_sha256,
        *manifest.reports.values(),
        *(text for shard in manifest.shards for text in (shard.name, shard.sha256)),
    ]
    counts = [
        *(count for split in names for count in manifest.class_counts[split]),
        *(count for shard in manifest.shards for count in (shard.examples, shard.bytes)),
    ]
    if not (
        isinstance(manifest.labels, list)
        and isinstance(manifest.words, list)
        and all(isinstance(fields["splits"][split], list) for split in names)
        and len(manifest.words) in (0, len(manifest.labels))
        and isinstance(manifest.provenance, dict)
        and all(len(manifest.class_counts[split]) == len(manifest.labels) for split in names)
        and all(isinstance(text, str) for text in texts)
        and all(type(count) is int and 0 <= count < 2**63 for count in counts)
    ):
        raise TypeError("a field has another type")
    expected = manifest._as_dict()
    if expected["schema_version"] != version or expected.keys() != value.keys():
        raise ValueError(f"schema {version} has other fields")
    return manifest


def shard_changed_error(path: Path, shard: Shard, found: str) -> DataError:
    """The error about a shard that differs from its manifest.

    Args:
        found: the difference, as a clause: "it is missing".
    """
    return DataError(
        f"{path} is not the shard of {shard.bytes} bytes in its manifest: {found}.",
        "Restore it from a copy, or build the data set again, with --overwrite. To see what else has changed, run shardtune "
        "verify.",
    )
