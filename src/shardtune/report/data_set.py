"""What a data set holds, and what was left out of it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.dataset.columns import RecordIndex
from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Manifest
from shardtune.dataset.splits import Split
from shardtune.evaluate.result import Result
from shardtune.report.photographs import Picture, shrink
from shardtune.report.run import read_lines
from shardtune.runtime.world import World

LINES = 20  # of rejected images, and groups of identical ones, that are listed
MAX_CLASSES = 1000  # of the table: more would make the page too large
SHEET_PIXELS = 1683  # width of the picture of `inspect --augmented`


@dataclass(frozen=True)
class DataSet:
    """A data set that is there.

    Attributes:
        rejects: the first lines of rejects.jsonl.
        duplicates: the first groups of identical files.
        augmented: the sheet of `inspect --augmented`, or why there is none; None if it was not asked for.
    """

    directory: Path
    manifest: Manifest
    records: Mapping[Split, RecordIndex]
    rejects: Sequence[Mapping[str, Any]]
    duplicates: Sequence[Sequence[Mapping[str, Any]]]
    augmented: Picture | str | None

    @property
    def splits(self) -> list[tuple[str, int, int, int]]:
        """Split, examples, shards and bytes."""
        return [
            (split, sum(shard.examples for shard in shards), len(shards), sum(shard.bytes for shard in shards))
            for split, shards in self.manifest.splits.items()
        ]

    @property
    def classes(self) -> list[tuple[Any, ...]]:
        """Name of each class, and its examples in each of `splits`: training, validation and, if there is one, test."""
        manifest = self.manifest
        return list(zip(manifest.titles, *(manifest.class_counts[split] for split in manifest.splits), strict=True))

    @property
    def classes_shown(self) -> list[tuple[Any, ...]]:
        """Those with the most training examples, by label."""
        classes = self.classes
        largest = sorted(range(len(classes)), key=lambda number: -classes[number][1])[:MAX_CLASSES]
        return [classes[number] for number in sorted(largest)]

    def is_of(self, evaluation: Result) -> bool:
        """Whether it is what was evaluated."""
        return bool(evaluation["provenance"].get("data_sha256") == self.manifest.sha256)

    def count(self, name: str) -> dict[str, int] | None:
        """What `build` has counted: "rejected" and "reencoded" by reason, "duplicates". None for another tool's shards."""
        value = self.manifest.provenance.get(name)
        return dict(value) if isinstance(value, dict) else None


def open_for_report(directory: Path, world: World, *, augmented: bool) -> DataSet:
    """The data set in `directory`.

    Raises:
        DataError: it is not there, or is damaged.
    """
    manifest, records = open_data_set(directory, world)
    groups = [line.get("identical") for line in read_lines(directory / "duplicates.jsonl", LINES)]
    return DataSet(
        directory,
        manifest,
        records,
        read_lines(directory / "rejects.jsonl", LINES),
        [group for group in groups if isinstance(group, list)],
        _augmented_sheet(directory) if augmented else None,
    )


def _augmented_sheet(directory: Path) -> Picture | str:
    """What `shardtune inspect --augmented` draws, or why it does not; in another process, because it needs TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "augmented.png")
        command = [sys.executable, "-m", "shardtune", "inspect", str(directory), "--augmented", "--output", str(path)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        )
        if done.returncode:
            return done.stderr.strip().rpartition("\n")[2] or f"shardtune inspect --augmented ended with {done.returncode}."
        return shrink(path.read_bytes(), SHEET_PIXELS)
