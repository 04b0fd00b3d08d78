"""The account of a build: every image stored, rejected or skipped; the files that tell it; the manifest, last."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.builder import duplicates
from shardtune.builder.listing import printable_path
from shardtune.builder.partition import Plan, as_digests
from shardtune.builder.receipts import Reject, ShardReceipt
from shardtune.dataset.manifest import LABELS_NAME, RECORD_DTYPE, SPLITS, Manifest, RecordIndex, Shard, Split, save_record_index
from shardtune.errors import DataError
from shardtune.runtime.files import atomic_write

REJECTS_NAME = "rejects.jsonl"
DUPLICATES_NAME = "duplicates.jsonl"


def finish(directory: Path, planned: Plan, options: dict[str, Any], written: list[ShardReceipt]) -> Manifest:
    """Write rejects, duplicates, labels, the places of records and, when all is right, the manifest.

    Args:
        options: what was asked, for the manifest: nothing that depends on ranks, the clock, or where folders lie.
        written: every shard of the plan, in its order.

    Raises:
        DataError: all training images of a class are unusable. The shards stay.
    """
    rejects = [reject for shard in written for reject in shard.rejects]
    figures, groups = _identical(planned, written)
    stored = sum(len(shard.offsets) for shard in written)
    reports = {
        name: _write_lines(directory / name, lines) for name, lines in ((REJECTS_NAME, rejects), (DUPLICATES_NAME, groups))
    }
    counts: dict[str, list[int]] = {
        split: _class_counts((s for s in written if s.split == split), len(planned.labels)) for split in SPLITS
    }
    if 0 in counts["train"]:
        name = planned.labels[counts["train"].index(0)]
        raise DataError(
            f"Each class has at least one image to train on, but all of {name} were rejected or skipped: see "
            f"{REJECTS_NAME} and {DUPLICATES_NAME} in {directory}, add images, or leave the class out."
        )
    with atomic_write(directory / LABELS_NAME) as file:
        file.write("".join(f"{name}\n" for name in planned.labels).encode())
    skipped = sum(len(files) for files, _ in planned.skipped.values())
    manifest = Manifest(
        labels=planned.labels,
        splits={split: [_entry(s) for s in written if s.split == split] for split in SPLITS},
        class_counts=counts,
        records_sha256=save_record_index(directory, np.concatenate([_records(shard) for shard in written])),
        provenance={
            **options,
            "scanned": stored + len(rejects) + skipped,
            "written": stored,
            "reencoded": dict(sorted(sum((Counter(shard.reencoded) for shard in written), Counter[str]()).items())),
            "rejected": dict(sorted(Counter(reject["reason"] for reject in rejects).items())),
            "skipped": skipped,
            "duplicates": figures,
            "boxes": _box_figures(planned, rejects),
            "imbalance": round(max(counts["train"]) / min(counts["train"]), 4),
        },
        reports=reports,
    )
    manifest.save(directory)
    return manifest


def require_few(rejects: list[Reject], most: int, directory: Path) -> None:
    """Check that no more images are unusable than may be; if so, those that are known are listed in rejects.jsonl.

    Raises:
        DataError: says what to do.
    """
    if len(rejects) > most:
        _write_lines(directory / REJECTS_NAME, rejects)
        first = rejects[0]
        raise DataError(
            f"At most {most} images may be unusable, but {len(rejects)} are that were looked at so far (first {first['path']}: "
            f"{first['reason']}, {first['detail']}): see {directory / REJECTS_NAME}, mend or remove them, or give a higher "
            f"--max_rejects; the same command then goes on from here."
        )


def _identical(planned: Plan, written: list[ShardReceipt]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Groups of identical files among all that were found; what cannot be read is like no other."""
    rejected = {(reject["split"], reject["path"]) for shard in written for reject in shard.rejects}
    files: list[tuple[Split, Any, bool]] = []
    digests = []
    for split, listing in planned.sources.items():
        files.append((split, listing, True))
        digests.append(as_digests(bytes.fromhex("".join(shard.digests for shard in written if shard.split == split))))
    for split, (listing, of_files) in planned.skipped.items():
        files.append((split, listing, False))
        digests.append(of_files)
    starts = np.cumsum([0] + [len(listing) for _, listing, _ in files])

    def describe(index: int) -> dict[str, Any]:
        part = int(np.searchsorted(starts, index, side="right")) - 1
        split, listing, kept = files[part]
        at = index - int(starts[part])
        path = printable_path(listing.path(at))
        stored = kept and (split, path) not in rejected
        return {"split": split, "path": path, "label": int(listing.labels[at]), "stored": stored}

    return duplicates.report(np.concatenate(digests), describe)


def _box_figures(planned: Plan, rejects: list[dict[str, str]]) -> dict[str, int]:
    """The account of the boxes, if there are any: given = stored + repeated + rejected."""
    if not planned.boxes:
        return {}
    without = {(reject["split"], reject["path"]) for reject in rejects}
    rejected = sum(len(boxes) for image, boxes in planned.boxes.items() if image in without)
    stored = sum(map(len, planned.boxes.values())) - rejected
    repeated = planned.box_counts["repeated"]
    return {
        "given": stored + repeated + rejected,
        "stored": stored,
        "moved": planned.box_counts["moved"],
        "repeated": repeated,
        "rejected": rejected,
    }


def _entry(shard: ShardReceipt) -> Shard:
    return Shard(shard.name, len(shard.offsets), shard.bytes, shard.sha256)


def _records(shard: ShardReceipt) -> RecordIndex:
    records = np.empty(len(shard.offsets), RECORD_DTYPE)
    records["start"], records["crc"] = shard.offsets, np.frombuffer(bytes.fromhex(shard.crcs), "<u4")
    return records


def _class_counts(shards: Iterable[ShardReceipt], classes: int) -> list[int]:
    counts = Counter(label for shard in shards for label in shard.labels)
    return [counts[label] for label in range(1, classes + 1)]


def _write_lines(path: Path, values: Iterable[dict[str, Any]]) -> str:
    """Write each value as JSON on a line; returns the SHA-256 of the file."""
    digest = hashlib.sha256()
    with atomic_write(path) as file:
        for value in values:
            line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
            file.write(line)
            digest.update(line)
    return digest.hexdigest()
