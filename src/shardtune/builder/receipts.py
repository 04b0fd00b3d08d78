"""The receipt of each shard that is finished: what became of its images, so that the next attempt need not write it again."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from shardtune.builder import images
from shardtune.builder.duplicates import digest
from shardtune.builder.listing import printable_path
from shardtune.builder.partition import DIGEST_BYTES, Digests, Plan, ShardPlan, as_digests
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, WORK_NAME, Split
from shardtune.errors import DataError
from shardtune.runtime.files import sha256_file
from shardtune.runtime.sealed import read_sealed, write_sealed

RECEIPTS_NAME = "receipts"

Reject = dict[str, str]  # an image that is left out: split, path, reason, detail


@dataclass
class ShardReceipt:
    """What became of the images of one shard.

    Attributes:
        bytes, sha256: of the shard's file.
        offsets: where each record starts.
        crcs: of each record's data, as the record holds it, as hexadecimal text end to end.
        labels: of each record.
        digests: of each source file, in the order of the plan, as hexadecimal text end to end.
        reencoded: how many images were, by reason.
        rejects: the images that are left out.
        rejected_at: where these are in the order of the plan.
        stored: digest of the paths of the others; see `digest_of_names`.
    """

    split: Split
    name: str
    bytes: int = 0
    sha256: str = ""
    offsets: list[int] = field(default_factory=list)
    crcs: str = ""
    labels: list[int] = field(default_factory=list)
    digests: str = ""
    reencoded: dict[str, int] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    rejected_at: list[int] = field(default_factory=list)
    stored: str = ""


def digest_of_names(names: Iterable[bytes]) -> str:
    return hashlib.blake2b(b"\0".join(names), digest_size=16).hexdigest()


def has_receipt(directory: Path, name: str) -> bool:
    return _receipt(directory, name).exists()


def read_receipt(directory: Path, name: str) -> ShardReceipt | None:
    """The receipt of a shard, or None where there is none that this version wrote."""
    value = read_sealed(_receipt(directory, name), SCHEMA_VERSION)
    try:
        return None if value is None or value["name"] != name else ShardReceipt(**value)
    except (KeyError, TypeError):  # a version that forgot to say that it is another
        return None


def finished_shard(directory: Path, shard: ShardPlan) -> ShardReceipt | None:
    """The receipt of a shard, if an earlier attempt finished it, it is still what that wrote, and holds what it now should."""
    receipt = read_receipt(directory, shard.name)
    if receipt is None:
        return None
    try:
        if sha256_file(directory / shard.name) != receipt.sha256:
            return None
    except FileNotFoundError:
        return None
    return _of_what_is_left(receipt, shard)


def require_same_content(directory: Path, plan: Plan, digests: dict[Split, Digests]) -> None:
    """Check that the images of shards that are finished have the content with which these were written.

    Args:
        digests: of all images of the plan.

    Raises:
        DataError: names one that has another, or a shard of which no receipt is left to tell.
    """
    finished = (directory / MANIFEST_NAME).exists()
    for number, (split, name, where) in enumerate(plan.shards):
        written = read_receipt(directory, name)
        shard = plan.shard(number)
        receipt = written and _of_what_is_left(written, shard)  # without, the shard is written again
        changed = receipt and _first_changed(shard, receipt, digests[split][where.start : where.stop])
        if changed or (finished and not receipt):
            wrong = f"{changed} has another content" if changed else f"the images of {name} have other times"
            raise DataError(
                f"A build goes on with what it began with, but {directory} was begun with other input ({wrong}): restore "
                f"that, give another --output_directory, or --overwrite what is there."
            )


def _first_changed(shard: ShardPlan, receipt: ShardReceipt, now: Digests) -> Path | None:
    """An image of a shard whose content is not that of which its receipt tells; `now` are the digests of its images."""
    then, rejected = as_digests(bytes.fromhex(receipt.digests)), set(receipt.rejected_at)
    changed = [index for index in np.flatnonzero(np.any(then != now, axis=1)).tolist() if index not in rejected]
    return shard.root / shard.sources.path(changed[0]) if changed else None


def _of_what_is_left(receipt: ShardReceipt, shard: ShardPlan) -> ShardReceipt | None:
    """The receipt without the images that were rejected and removed since, or None if it tells of other images than those of
    `shard`, or of one that was rejected and has changed.

    That no stored image has changed is seen from the recipe.
    """
    digests = [receipt.digests[start : start + 2 * DIGEST_BYTES] for start in range(0, len(receipt.digests), 2 * DIGEST_BYTES)]
    gone = {reject["path"]: (reject, at) for reject, at in zip(receipt.rejects, receipt.rejected_at, strict=True)}
    stored, rejected_at = list[bytes](), list[int]()
    for index in range(len(shard.sources)):
        path = shard.sources.path(index)
        reject, at = gone.pop(printable_path(path), (None, 0))
        if reject is None:
            stored.append(shard.sources.name(index))
        elif not _is_as_it_was(shard.root, path, reject, digests[at]):
            return None
        else:
            rejected_at.append(index)
    if digest_of_names(stored) != receipt.stored:
        return None
    rejects = [reject for reject in receipt.rejects if reject["path"] not in gone]
    removed = {at for _, at in gone.values()}
    left = "".join(digest for at, digest in enumerate(digests) if at not in removed)
    return replace(receipt, rejects=rejects, rejected_at=rejected_at, digests=left)


def _is_as_it_was(root: Path, path: str, reject: Reject, content: str) -> bool:
    """Whether an image that was rejected would be for the same reason now; `content` is what its digest was."""
    try:
        return digest(images.read_source(root, path)).hex() == content
    except images.RejectedError as error:
        return (error.code, error.detail) == (reject["reason"], reject["detail"])


def finish_shard(directory: Path, shard: ShardReceipt) -> None:
    """Leave the receipt of a shard whose file is in place. It stays when the data set is finished, to mend it by."""
    # Not durable: what a crash of the machine loses here is a shard's work, and no more.
    write_sealed(_receipt(directory, shard.name), SCHEMA_VERSION, asdict(shard), durable=False)


def remove_receipts(directory: Path) -> None:
    """But not their folder: where names are late, a new one of the same name may be missed for a while."""
    for path in (directory / WORK_NAME / RECEIPTS_NAME).glob("*"):
        path.unlink(missing_ok=True)


def _receipt(directory: Path, name: str) -> Path:
    return directory / WORK_NAME / RECEIPTS_NAME / f"{name}.json"
