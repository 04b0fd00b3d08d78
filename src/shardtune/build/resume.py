"""What a build leaves for its next attempt: what it is to make, and a receipt for each shard that is finished."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.build import images
from shardtune.build.duplicates import digest
from shardtune.build.listing import Listing, printable_path
from shardtune.build.plan import DIGEST_BYTES, Digests, Plan, ShardPlan, as_digests
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, Split
from shardtune.dataset.manifest import WORK_NAME as WORK_NAME  # in the output directory
from shardtune.errors import DataError
from shardtune.files import sha256_of
from shardtune.sealed import read_sealed, write_sealed

VERSION = SCHEMA_VERSION  # of recipes and receipts: that of the data set to which they belong
RECIPE_NAME = "recipe.json"
RECEIPTS_NAME = "receipts"
SHARD = re.compile(r"(train|validation)-\d{5,}-of-\d{5,}")


Reject = dict[str, str]  # an image that is left out: split, path, reason, detail


@dataclass
class WrittenShard:
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


def recipe(plan: Plan, options: dict[str, Any], rejected: Collection[str] = ()) -> dict[str, Any]:
    """All that decides the bytes of a data set: options, labels, and by class the files.

    "sources" stands for path, size and time of all files, "files" for path and size. Which of them are held out or skipped
    follows from these and the options.

    Args:
        rejected: images, by `_key`, of which to tell apart what they add to "sources" and "files".
    """
    sources, files, apart = dict[str, int](), dict[str, int](), dict[str, list[str]]()
    for split, listing in (*plan.sources.items(), *((split, skipped) for split, (skipped, _) in plan.skipped.items())):
        groups = [f"{_origin(plan, split)} images of {name}" for name in plan.labels]
        sources, files = dict.fromkeys(groups, 0) | sources, dict.fromkeys(groups, 0) | files
        for index in range(len(listing)):
            group, (without, with_times) = groups[listing.labels[index] - 1], _digests(listing, index)
            # No file is listed twice, so nothing cancels out, and the order does not matter.
            files[group] ^= without
            sources[group] ^= with_times
            if rejected and (key := _key(plan, split, printable_path(listing.path(index)))) in rejected:
                apart[key] = [group, _hex(with_times), _hex(without)]
    told = {
        "sources": {group: _hex(d) for group, d in sources.items()},
        "files": {group: _hex(d) for group, d in files.items()},
    }
    return {**options, "labels": plan.labels, **told, "rejected": apart}


def _digests(listing: Listing, index: int) -> tuple[int, int]:
    """Numbers for a file: one of its path and size, one of these and its time."""
    digest = hashlib.blake2b(listing.name(index) + f"\0{listing.sizes[index]}".encode(), digest_size=16)
    timed = digest.copy()
    timed.update(f"\0{listing.mtimes[index]}".encode())
    return int.from_bytes(digest.digest(), "little"), int.from_bytes(timed.digest(), "little")


def _hex(digest: int) -> str:
    return f"{digest:032x}"


def _origin(plan: Plan, split: Split) -> str:
    """The split whose directory the images come from: what is held out of it follows from the options."""
    return "train" if plan.roots[split] == plan.roots["train"] else split


def _key(plan: Plan, split: Split, path: str) -> str:
    return f"{_origin(plan, split)}/{path}"


def note_rejects(directory: Path, plan: Plan, options: dict[str, Any], rejects: Sequence[Reject]) -> None:
    """Note which images were rejected: to mend or remove them is no other input for the next attempt."""
    keys = {_key(plan, "train" if reject["split"] == "train" else "validation", reject["path"]) for reject in rejects}
    if keys:
        remember(directory, recipe(plan, options, keys))


def rejected_before(directory: Path) -> Collection[str]:
    """The images that an earlier attempt rejected, by `_key`."""
    before = read_sealed(directory / WORK_NAME / RECIPE_NAME, VERSION)
    return before.get("rejected", {}).keys() if before else ()


def _expected(before: dict[str, Any], wanted: dict[str, Any], *, finished: bool) -> dict[str, Any]:
    """`before` as it would have been if images that were rejected had been as they are now, or not there.

    Args:
        finished: leave those that have changed as they were: mended ones would belong into the data set.
    """
    parts = {"sources": dict(before["sources"]), "files": dict(before["files"])}
    rejected = dict(before.get("rejected", {}))
    for key, old in before.get("rejected", {}).items():
        now = wanted["rejected"].get(key)
        if now != old and not (finished and now):
            for group, *digests in filter(None, (old, now)):
                for of, digest in zip(parts.values(), digests, strict=True):
                    of[group] = _hex(int(of.get(group, "0"), 16) ^ int(digest, 16))
            del rejected[key]
    return {**before, **parts, "rejected": rejected}


def begin(directory: Path, wanted: dict[str, Any], *, overwrite: bool) -> bool:
    """Make `directory` ready to go on with the build that `wanted` describes; returns whether that is finished already.

    Args:
        overwrite: remove shards that are not this build's, and a whole data set even if it is.

    Raises:
        DataError: shards of another build are there.
    """
    work = directory / WORK_NAME
    finished = (directory / MANIFEST_NAME).exists()
    before = _recipe_before(directory, wanted, finished=finished)
    wanted = {**wanted, "rejected": before["rejected"] if before else {}}
    if before == wanted and not (finished and overwrite):
        (work / RECEIPTS_NAME).mkdir(exist_ok=True)
        if not finished:
            remember(directory, wanted)
        return finished
    shards = [path for path in directory.iterdir() if SHARD.fullmatch(path.name)]
    if (shards or finished) and not overwrite:
        raise DataError(
            f"A build goes on with what it began with, but {directory} was begun with other input "
            f"({_changes(before, wanted)}): restore that, give another --output_directory, or --overwrite what is there."
        )
    (directory / MANIFEST_NAME).unlink(missing_ok=True)  # first: without it nothing else counts
    _remove_receipts(directory)
    for path in shards:
        path.unlink()
    (work / RECEIPTS_NAME).mkdir(exist_ok=True)
    remember(directory, {**wanted, "rejected": {}})
    return False


def remember(directory: Path, wanted: dict[str, Any]) -> None:
    """Write down what a build is to make."""
    write_sealed(directory / WORK_NAME / RECIPE_NAME, VERSION, wanted)


def _recipe_before(directory: Path, wanted: dict[str, Any], *, finished: bool) -> dict[str, Any] | None:
    """The recipe that is written down, see `_expected`, or None."""
    path = directory / WORK_NAME / RECIPE_NAME
    before = read_sealed(path, VERSION)
    if before is None:
        try:
            old = json.loads(path.read_bytes())
            if "version" not in old and isinstance(old["labels"], list) and isinstance(old["sources"], dict):
                before = _of_version_1(old, wanted)
        except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
            pass
    return before and _expected(before, wanted, finished=finished)


def _of_version_1(old: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What a recipe of version 1 would be now. It has no "files": they count as those that are wanted.

    Raises:
        ValueError, TypeError: it is none.
    """
    sources = dict.fromkeys(old["sources"].keys() & wanted["sources"].keys(), 0)
    for group, number in old["sources"].items():  # what was held out was apart
        origin = group if group in wanted["sources"] else group.replace("validation", "train", 1)
        sources[origin] = sources.get(origin, 0) ^ int(number, 16)
    told = {group: _hex(digest) for group, digest in sources.items()}
    ignore: dict[str, Any] = {"ignore": []} if "ignore" in wanted else {}
    return {**ignore, **old, "sources": told, "files": wanted["files"], "rejected": {}}


def _changes(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    if before is None:
        return "no record of it that this version reads is left"
    differ = [key for key in before | now if before.get(key) != now.get(key)]
    told = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in differ
        if key not in ("labels", "sources", "files", "rejected")
    ]
    if not told:  # what is held out follows from the options
        both = [(before[part], now[part]) for part in ("sources", "files")]
        changed = [key for old, new in both for key in old | new if old.get(key) != new.get(key)]
        told = [f"{key} changed" for key in dict.fromkeys(changed)] or ["the order of labels changed"]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def only_times_differ(directory: Path, wanted: dict[str, Any]) -> bool:
    """Whether the build in `directory` is the one that is wanted but for the times of the images, as of a copy of them."""
    if not is_current(directory):
        return False
    before = _recipe_before(directory, wanted, finished=(directory / MANIFEST_NAME).exists()) or {}
    apart = ("sources", "rejected")
    same = all(before.get(key) == wanted.get(key) for key in before | wanted if key not in apart)
    return same and before["sources"] != wanted["sources"]


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


def _first_changed(shard: ShardPlan, receipt: WrittenShard, now: Digests) -> Path | None:
    """An image of a shard whose content is not that of which its receipt tells; `now` are the digests of its images."""
    then, rejected = as_digests(bytes.fromhex(receipt.digests)), set(receipt.rejected_at)
    changed = [index for index in np.flatnonzero(np.any(then != now, axis=1)).tolist() if index not in rejected]
    return shard.root / shard.sources.path(changed[0]) if changed else None


def is_current(directory: Path) -> bool:
    """Whether the build in `directory` was begun by this version, so that its shards can be told from what they should be."""
    return read_sealed(directory / WORK_NAME / RECIPE_NAME, VERSION) is not None


def has_receipt(directory: Path, name: str) -> bool:
    return _receipt(directory, name).exists()


def read_receipt(directory: Path, name: str) -> WrittenShard | None:
    """The receipt of a shard, or None where there is none that this version wrote."""
    value = read_sealed(_receipt(directory, name), VERSION)
    try:
        return None if value is None or value["name"] != name else WrittenShard(**value)
    except (KeyError, TypeError):  # a version that forgot to say that it is another
        return None


def finished_shard(directory: Path, shard: ShardPlan) -> WrittenShard | None:
    """The receipt of a shard, if an earlier attempt finished it, it is still what that wrote, and holds what it now should."""
    receipt = read_receipt(directory, shard.name)
    if receipt is None:
        return None
    try:
        if sha256_of(directory / shard.name) != receipt.sha256:
            return None
    except FileNotFoundError:
        return None
    return _of_what_is_left(receipt, shard)


def _of_what_is_left(receipt: WrittenShard, shard: ShardPlan) -> WrittenShard | None:
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


def finish_shard(directory: Path, shard: WrittenShard) -> None:
    """Leave the receipt of a shard whose file is in place. It stays when the data set is finished, to mend it by."""
    # Not durable: what a crash of the machine loses here is a shard's work, and no more.
    write_sealed(_receipt(directory, shard.name), VERSION, asdict(shard), durable=False)


def _remove_receipts(directory: Path) -> None:
    """But not their folder: where names are late, a new one of the same name may be missed for a while."""
    for path in (directory / WORK_NAME / RECEIPTS_NAME).glob("*"):
        path.unlink(missing_ok=True)


def _receipt(directory: Path, name: str) -> Path:
    return directory / WORK_NAME / RECEIPTS_NAME / f"{name}.json"
