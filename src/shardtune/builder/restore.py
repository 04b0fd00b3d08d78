"""Write the files beside the shards of a finished data set again: from its manifest, its shards and their receipts."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from shardtune.builder.finalize import DUPLICATES_NAME, REJECTS_NAME, duplicate_lines, label_column, record_index, reject_lines
from shardtune.builder.partition import Plan
from shardtune.builder.receipts import ShardReceipt, load_receipt, match_receipt
from shardtune.dataset.columns import LABEL_COLUMN_NAME, RECORDS_NAME
from shardtune.dataset.index import read_record_index
from shardtune.dataset.manifest import LABELS_NAME, MANIFEST_NAME, Manifest, Shard
from shardtune.errors import DataError
from shardtune.runtime.files import atomic_write


def find_shards_without_receipt(directory: Path, manifest: Manifest, plan: Plan) -> list[str]:
    """Names of the shards of which no receipt tells what became of the images of `plan`."""
    matching = {receipt.name for receipt in _matching_receipts(directory, manifest, plan)}
    return [shard.name for shard in manifest.shards if shard.name not in matching]


def restore_files(lost: list[str], directory: Path, manifest: Manifest, plan: Plan) -> None:
    """Write the lost files again that are then as before, by their digests in the manifest.

    Args:
        lost: of labels, record index, and the reports of the manifest; for these every shard must have a receipt.

    Raises:
        DataError: some would not be as before.
    """
    receipts = {shard.name: receipt for shard in manifest.shards if (receipt := _load_receipt(directory, shard))}
    contents: dict[str, Callable[[], Iterable[bytes]]] = {
        LABELS_NAME: lambda: [manifest.labels_file],
        RECORDS_NAME: lambda: [
            (record_index(receipts[s.name]) if s.name in receipts else read_record_index(directory / s.name)).tobytes()
            for s in manifest.shards
        ],
        LABEL_COLUMN_NAME: lambda: map(label_column, receipts.values()),
        # Not of matching receipts, because rejected images may have been removed since.
        REJECTS_NAME: lambda: reject_lines(receipts.values()),
        DUPLICATES_NAME: lambda: duplicate_lines(plan, _matching_receipts(directory, manifest, plan))[1],
    }
    digests = {RECORDS_NAME: manifest.records_sha256, **manifest.reports}
    different = []
    for name in lost:
        content = b"".join(contents[name]())
        if name != LABELS_NAME and hashlib.sha256(content).hexdigest() != digests[name]:
            different.append(name)
            continue
        with atomic_write(directory / name) as file:
            file.write(content)
    if different:
        raise DataError(
            f"{directory} has lost files that cannot be written again with the digests in {MANIFEST_NAME}: "
            f"{', '.join(different)}.",
            "Restore them from a copy. Or put back images that were rejected and then removed, and the shards that shardtune "
            "verify names, and run this again. Or pass --overwrite to build the data set again.",
        )


def _load_receipt(directory: Path, shard: Shard) -> ShardReceipt | None:
    receipt = load_receipt(directory, shard.name)
    return receipt if receipt and receipt.sha256 == shard.sha256 else None


def _matching_receipts(directory: Path, manifest: Manifest, plan: Plan) -> list[ShardReceipt]:
    """The receipts, in the order of the shards, that match the plan, without rejected images that no longer exist."""
    loaded = ((shard, _load_receipt(directory, entry)) for shard, entry in zip(plan.shards, manifest.shards, strict=True))
    matched = (receipt and match_receipt(receipt, plan.shard_plan(shard)) for shard, receipt in loaded)
    return [receipt for receipt in matched if receipt]
