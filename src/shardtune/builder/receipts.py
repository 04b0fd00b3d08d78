"""The receipt of each finished shard: what happened to its images, so that the next attempt need not write it again."""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from shardtune.builder.duplicates import digest
from shardtune.builder.listing import printable_path
from shardtune.builder.partition import DIGEST_BYTES, Digests, Plan, ShardPlan, to_digests
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, WORK_NAME
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.images.source import RejectedError, read_source
from shardtune.runtime.files import sha256_file
from shardtune.runtime.sealed import read_sealed, write_sealed

RECEIPTS_NAME = "receipts"
COLUMNS = {"offsets": "Q", "labels": "i"}  # of a receipt, with their types
Packed = bytes  # values of the same width, concatenated
HEX_COLUMNS = ("crcs", "digests")  # that are hexadecimal text in its file


class Reject(TypedDict):
    """An image that is left out: a line of rejects.jsonl."""

    split: Split
    path: str
    reason: str
    detail: str


@dataclass
class ShardReceipt:
    """What happened to the images of one shard. It takes 32 bytes an image, because rank 0 has those of all shards.

    Attributes:
        bytes, sha256: size and digest of the shard's file.
        offsets: the byte at which each record starts.
        crcs: the CRC of each record's data, as stored in the record, concatenated.
        labels: the label of each record.
        digests: the digest of each source file, in the order of the plan, concatenated.
        reencoded: how many images were re-encoded, by reason.
        rejects: the images that are left out.
        rejected_at: their positions in the order of the plan.
        stored: digest of the paths of the other images; see `hash_names`.
    """

    split: Split
    name: str
    bytes: int = 0
    sha256: str = ""
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    crcs: Packed = b""
    labels: "array[int]" = field(default_factory=lambda: array("i"))
    digests: Packed = b""
    reencoded: dict[str, int] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    rejected_at: list[int] = field(default_factory=list)
    stored: str = ""


def hash_names(names: Iterable[bytes]) -> str:
    return hashlib.blake2b(b"\0".join(names), digest_size=16).hexdigest()


def has_receipt(directory: Path, name: str) -> bool:
    return _receipt_path(directory, name).exists()


def load_receipt(directory: Path, name: str) -> ShardReceipt | None:
    """The receipt of a shard, or None if there is none that this version wrote."""
    value = read_sealed(_receipt_path(directory, name), SCHEMA_VERSION)
    try:
        if value is None or value["name"] != name:
            return None
        columns = {column: array(kind, value[column]) for column, kind in COLUMNS.items()}
        return ShardReceipt(**{**value, **columns, **{column: bytes.fromhex(value[column]) for column in HEX_COLUMNS}})
    except (KeyError, TypeError, ValueError, OverflowError):  # other fields under the same version number
        return None


def load_valid_receipt(directory: Path, shard: ShardPlan) -> ShardReceipt | None:
    """The receipt of a finished shard, or None if the shard must be written again.

    It must be written again if there is no receipt, if the file has other bytes, or if the receipt does not match the plan
    (see `match_receipt`).
    """
    receipt = load_receipt(directory, shard.name)
    if receipt is None:
        return None
    try:
        if sha256_file(directory / shard.name) != receipt.sha256:
            return None
    except FileNotFoundError:
        return None
    return match_receipt(receipt, shard)


def check_same_content(directory: Path, plan: Plan, digests: dict[Split, Digests]) -> None:
    """Check that the images of finished shards still have the content with which these were written.

    Args:
        digests: of all files of each image directory.

    Raises:
        DataError: an image has another content, or the shard of a finished data set has no receipt to compare with.
    """
    is_finished = (directory / MANIFEST_NAME).exists()
    for shard in plan.shards:
        shard_plan = plan.shard_plan(shard)
        written = load_receipt(directory, shard.name)
        receipt = written and match_receipt(written, shard_plan)
        if receipt is None:  # the shard will be written again
            if is_finished:
                raise other_input_error(directory, f"the images of {shard.name} have other times")
            continue
        changed = first_changed_image(shard_plan, receipt, digests[plan.splits[shard.split].source][plan.rows(shard)])
        if changed:
            raise other_input_error(directory, f"{changed} has another content")


def other_input_error(directory: Path, changes: str) -> DataError:
    """The error about an output directory with the build of other images or options."""
    return DataError(
        f"{directory} holds a build of other input ({changes}).",
        "Restore that input, choose another --output_directory, or pass --overwrite to replace it.",
    )


def first_changed_image(shard: ShardPlan, receipt: ShardReceipt, digests: Digests) -> Path | None:
    """The first stored image of a shard whose digest is not that of the receipt.

    Args:
        digests: of the images of the shard now.
    """
    before, rejected = to_digests(receipt.digests), set(receipt.rejected_at)
    changed = [index for index in np.flatnonzero(np.any(before != digests, axis=1)).tolist() if index not in rejected]
    return shard.root / shard.sources.path(changed[0]) if changed else None


def match_receipt(receipt: ShardReceipt, shard: ShardPlan) -> ShardReceipt | None:
    """The receipt without the rejected images that no longer exist, or None if it does not match the plan.

    It does not match if its images are not those of `shard`, or if a rejected image has changed. Changes of stored images are
    found by the recipe.
    """
    digests = [receipt.digests[start : start + DIGEST_BYTES] for start in range(0, len(receipt.digests), DIGEST_BYTES)]
    removed = {reject["path"]: at for reject, at in zip(receipt.rejects, receipt.rejected_at, strict=True)}
    rejects = {reject["path"]: reject for reject in receipt.rejects}
    stored, rejected_at = list[bytes](), list[int]()
    for index in range(len(shard.sources)):
        path = shard.sources.path(index)
        at = removed.pop(printable_path(path), None)
        if at is None:
            stored.append(shard.sources.name(index))
        elif _is_unchanged(rejects[printable_path(path)], digests[at], shard.root, path):
            rejected_at.append(index)
        else:
            return None
    if hash_names(stored) != receipt.stored:
        return None
    removed_at = set(removed.values())
    return replace(
        receipt,
        rejects=[reject for reject in receipt.rejects if reject["path"] not in removed],
        rejected_at=rejected_at,
        digests=b"".join(digest for at, digest in enumerate(digests) if at not in removed_at),
    )


def _is_unchanged(reject: Reject, old_digest: bytes, root: Path, path: str) -> bool:
    """Whether a rejected image has the same bytes, or still cannot be read for the same reason."""
    try:
        return digest(read_source(root, path)) == old_digest
    except RejectedError as error:
        return (error.code, error.detail) == (reject["reason"], reject["detail"])


def save_receipt(directory: Path, shard: ShardReceipt) -> None:
    """Write the receipt of a shard whose file is complete. It stays beside a finished data set, to restore lost files."""
    columns = {column: getattr(shard, column).tolist() for column in COLUMNS}
    columns |= {column: getattr(shard, column).hex() for column in HEX_COLUMNS}
    # Not durable: a crash of the machine costs only the work of one shard.
    write_sealed(_receipt_path(directory, shard.name), SCHEMA_VERSION, {**asdict(shard), **columns}, durable=False)


def remove_receipts(directory: Path) -> None:
    """Remove all receipts, but not their folder: on file systems with delays, a new folder may stay invisible for a while."""
    for path in (directory / WORK_NAME / RECEIPTS_NAME).glob("*"):
        path.unlink(missing_ok=True)


def _receipt_path(directory: Path, name: str) -> Path:
    return directory / WORK_NAME / RECEIPTS_NAME / f"{name}.json"
