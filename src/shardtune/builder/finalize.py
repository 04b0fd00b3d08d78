"""Complete a data set: account for every image (stored, rejected or skipped), write the reports, then the manifest."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.builder.duplicates import find_duplicate_groups
from shardtune.builder.listing import FileTable, printable_path
from shardtune.builder.partition import Indices, Plan, to_digests
from shardtune.builder.receipts import Reject, ShardReceipt
from shardtune.dataset.columns import LABEL_COLUMN_NAME, LABEL_DTYPE, RECORD_DTYPE, RECORDS_NAME, RecordIndex
from shardtune.dataset.manifest import LABELS_NAME, Manifest, Shard
from shardtune.dataset.splits import SPLITS, Split
from shardtune.errors import DataError
from shardtune.runtime.files import atomic_write
from shardtune.runtime.memory import return_freed_memory

REJECTS_NAME = "rejects.jsonl"
DUPLICATES_NAME = "duplicates.jsonl"


def write_manifest(
    directory: Path, plan: Plan, words: list[str], options: dict[str, Any], receipts: list[ShardReceipt]
) -> Manifest:
    """Write the lists of rejects and duplicates, labels, label column and record index, and at last the manifest.

    Args:
        words: what people call each class; empty if that is not known.
        options: the options of the build, for the manifest; nothing that depends on ranks, the clock or paths of directories.
        receipts: of every shard of the plan, in its order.

    Raises:
        DataError: a class has no training image left. The shards stay.
    """
    rejects = [reject for receipt in receipts for reject in receipt.rejects]
    duplicate_stats, groups = duplicate_lines(plan, receipts)
    reports = {
        REJECTS_NAME: _write(directory / REJECTS_NAME, reject_lines(receipts)),
        DUPLICATES_NAME: _write(directory / DUPLICATES_NAME, groups),
    }
    splits = SPLITS if "test" in plan.splits else SPLITS[:2]
    counts: dict[str, list[int]] = {split: _class_counts(receipts, split, len(plan.labels)) for split in splits}
    if 0 in counts["train"]:
        name = plan.labels[counts["train"].index(0)]
        raise DataError(
            f"The class {name} has no image to train on, because all were rejected or skipped.",
            f"See {REJECTS_NAME} and {DUPLICATES_NAME} in {directory}, then add images or leave the class out.",
        )
    stored = sum(len(receipt.offsets) for receipt in receipts)
    skipped = sum(len(split.skipped) for split in plan.splits.values())
    manifest = Manifest(
        labels=plan.labels,
        splits={split: [_shard_entry(receipt) for receipt in receipts if receipt.split == split] for split in splits},
        class_counts=counts,
        records_sha256=_write(directory / RECORDS_NAME, (record_index(receipt).tobytes() for receipt in receipts)),
        provenance={
            **options,
            "scanned": stored + len(rejects) + skipped,
            "written": stored,
            "reencoded": dict(sorted(sum((Counter(receipt.reencoded) for receipt in receipts), Counter[str]()).items())),
            "rejected": dict(sorted(Counter(reject["reason"] for reject in rejects).items())),
            "skipped": skipped,
            "duplicates": duplicate_stats,
            "boxes": _box_stats(plan, rejects),
            "imbalance": round(max(counts["train"]) / min(counts["train"]), 4),
        },
        reports={**reports, LABEL_COLUMN_NAME: _write(directory / LABEL_COLUMN_NAME, map(label_column, receipts))},
        words=words,
    )
    _write(directory / LABELS_NAME, [manifest.labels_file])
    manifest.save(directory)
    return manifest


def check_rejects(rejects: list[Reject], max_rejects: int, directory: Path) -> None:
    """Check that no more images are rejected than allowed. If there are more, list those known so far in rejects.jsonl.

    Raises:
        DataError: there are more.
    """
    if len(rejects) > max_rejects:
        _write(directory / REJECTS_NAME, _lines(rejects))
        first = rejects[0]
        raise DataError(
            f"{len(rejects)} image(s) cannot be stored, but --max_rejects is {max_rejects} (first {first['path']}: "
            f"{first['reason']}, {first['detail']}).",
            f"See {directory / REJECTS_NAME}, repair or remove the images, or give a higher --max_rejects. The same command "
            f"then resumes the build.",
        )


def reject_lines(receipts: Iterable[ShardReceipt]) -> Iterator[bytes]:
    """The lines of rejects.jsonl."""
    return _lines(reject for receipt in receipts for reject in receipt.rejects)


def duplicate_lines(plan: Plan, receipts: list[ShardReceipt]) -> tuple[dict[str, int], Iterator[bytes]]:
    """Statistics and the lines of duplicates.jsonl: groups of identical files among all that were found.

    A file that cannot be read is in no group.
    """
    rejected = {(reject["split"], reject["path"]) for receipt in receipts for reject in receipt.rejects}
    parts: list[tuple[Split, FileTable, Indices, bool]] = []  # split, table, rows, and whether they are to be stored
    digests = []
    for name, split in plan.splits.items():
        parts.append((name, split.files, split.stored, True))
        digests += [to_digests(receipt.digests) for receipt in receipts if receipt.split == name]
    for name, split in reversed(plan.splits.items()):  # the order of the files in duplicates.jsonl: validation first
        parts.append((name, split.files, split.skipped, False))
        digests.append(split.skipped_digests)
    starts = np.cumsum([0] + [len(rows) for _, _, rows, _ in parts])

    def describe(index: int) -> dict[str, Any]:
        part = int(np.searchsorted(starts, index, side="right")) - 1
        name, files, rows, is_kept = parts[part]
        row = int(rows[index - int(starts[part])])
        path = printable_path(files.path(row))
        is_stored = is_kept and (name, path) not in rejected
        return {"split": name, "path": path, "label": int(files.labels[row]), "stored": is_stored}

    together = np.concatenate(digests)
    digests.clear()  # 224 MB of 14,000,000 images
    return_freed_memory()
    stats, groups = find_duplicate_groups(together, describe)
    return stats, _lines(groups)


def _box_stats(plan: Plan, rejects: list[Reject]) -> dict[str, int]:
    """The numbers of boxes, if there are any: given = stored + repeated + rejected + unlisted, which is absent if it is 0."""
    unlisted = plan.box_counts.get("unlisted", 0)
    if not plan.boxes and not unlisted:
        return {}
    rejected_images = {(reject["split"], reject["path"]) for reject in rejects}
    rejected = sum(len(boxes) for image, boxes in plan.boxes.items() if image in rejected_images)
    stored = sum(map(len, plan.boxes.values())) - rejected
    moved, repeated = plan.box_counts.get("moved", 0), plan.box_counts.get("repeated", 0)
    given = stored + repeated + rejected + unlisted
    counts = {"given": given, "stored": stored, "moved": moved, "repeated": repeated, "rejected": rejected}
    return {**counts, "unlisted": unlisted} if unlisted else counts


def _shard_entry(receipt: ShardReceipt) -> Shard:
    return Shard(receipt.name, len(receipt.offsets), receipt.bytes, receipt.sha256)


def record_index(receipt: ShardReceipt) -> RecordIndex:
    """Start and CRC of each record of a shard."""
    records = np.empty(len(receipt.offsets), RECORD_DTYPE)
    records["start"], records["crc"] = receipt.offsets, np.frombuffer(receipt.crcs, "<u4")
    return records


def label_column(receipt: ShardReceipt) -> bytes:
    """The part of labels.bin for the records of a shard."""
    return np.array(receipt.labels, LABEL_DTYPE).tobytes()


def _class_counts(receipts: list[ShardReceipt], split: Split, classes: int) -> list[int]:
    labels = [np.bincount(receipt.labels, minlength=classes + 1)[1:] for receipt in receipts if receipt.split == split]
    return list(map(int, sum(labels, np.zeros(classes, np.int64))))


def _lines(values: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    return (json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


def _write(path: Path, lines: Iterable[bytes]) -> str:
    """Write a file. Returns its SHA-256."""
    digest = hashlib.sha256()
    with atomic_write(path) as file:
        for line in lines:
            file.write(line)
            digest.update(line)
    return digest.hexdigest()
