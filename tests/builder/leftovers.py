"""What a build that was interrupted leaves, made by hand."""

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shardtune.builder.duplicates import digest
from shardtune.builder.receipts import RECEIPTS_NAME, Reject, ShardReceipt, hash_names, save_receipt
from shardtune.dataset.manifest import WORK_NAME
from shardtune.runtime.files import sha256_file

SHARD = "train-00000-of-00002"


def output_directory(parent: Path) -> Path:
    """An output directory as it is once the build has begun."""
    directory = parent / "data"
    (directory / WORK_NAME / RECEIPTS_NAME).mkdir(parents=True)
    return directory


def reject(path: str) -> Reject:
    return {"split": "train", "path": path, "reason": "unreadable", "detail": "no such file"}


def write_shard(output: Path, *stored: str, rejects: Mapping[str, bytes] = {}, **values: Any) -> ShardReceipt:
    """A shard and its receipt; its bytes matter to nobody here.

    Args:
        stored: paths of the images in it.
        rejects: digests of those that were left out, by path, which come before the stored ones.
    """
    (output / SHARD).write_bytes(b"the bytes of a shard")
    shard = ShardReceipt(
        "train", SHARD, bytes=20, sha256=sha256_file(output / SHARD), offsets=array("Q", [0]), labels=array("i", [1]),
        digests=b"".join([*rejects.values(), *(digest(path.encode()) for path in stored)]),
        rejects=[reject(path) for path in rejects],
        rejected_at=list(range(len(rejects))),
        stored=hash_names([path.encode() for path in stored]),
        **values,
    )  # fmt: skip
    save_receipt(output, shard)
    return shard
