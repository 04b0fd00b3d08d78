"""What a build leaves for its next attempt: what it is to make, and a receipt for each shard that is finished."""

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.build import images
from shardtune.build.duplicates import digest_of_none
from shardtune.build.listing import Listing
from shardtune.build.plan import Digests, Plan, ShardPlan, as_digests
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, Split
from shardtune.dataset.manifest import WORK_NAME as WORK_NAME  # in the output directory
from shardtune.errors import DataError
from shardtune.files import sha256_of
from shardtune.sealed import read_sealed, write_sealed

VERSION = SCHEMA_VERSION  # of recipes and receipts: that of the data set to which they belong
RECIPE_NAME = "recipe.json"
RECEIPTS_NAME = "receipts"
SHARD = re.compile(r"\.?(train|validation)-\d{5,}-of-\d{5,}(\.tmp)?")  # or what is to become one


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
        rejects: the images that are left out: split, path, reason, detail.
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
    rejects: list[dict[str, str]] = field(default_factory=list)


def recipe(plan: Plan, options: dict[str, Any]) -> dict[str, Any]:
    """All that decides the bytes of a data set: options, labels, and by class the files.

    "sources" stands for path, size and time of all that are stored, "files" for path and size of all. Times of files that are
    skipped tell nothing: their content was just compared with one that is stored.
    """
    classes = len(plan.labels)
    sources, files = {}, {}
    for split, listing in plan.sources.items():
        stored, with_times = _digests(listing, classes)
        left_out = _digests(plan.skipped[split][0], classes)[0] if split in plan.skipped else [0] * classes
        for name, timed, one, other in zip(plan.labels, with_times, stored, left_out, strict=True):
            sources[f"{split} images of {name}"] = f"{timed:032x}"
            files[f"{split} images of {name}"] = f"{one:032x}{other:032x}"
    return {**options, "labels": plan.labels, "sources": sources, "files": files}


def _digests(listing: Listing, classes: int) -> tuple[list[int], list[int]]:
    """Two numbers for the files of each class: of their paths and sizes, and of these and their times."""
    without, with_times = [0] * classes, [0] * classes
    for index in range(len(listing)):
        digest = hashlib.blake2b(listing.name(index) + f"\0{listing.sizes[index]}".encode(), digest_size=16)
        timed = digest.copy()
        timed.update(f"\0{listing.mtimes[index]}".encode())
        # No file is listed twice, so nothing cancels out, and the order does not matter.
        without[listing.labels[index] - 1] ^= int.from_bytes(digest.digest(), "little")
        with_times[listing.labels[index] - 1] ^= int.from_bytes(timed.digest(), "little")
    return without, with_times


def begin(directory: Path, wanted: dict[str, Any], *, overwrite: bool) -> bool:
    """Make `directory` ready to go on with the build that `wanted` describes; returns whether that is finished already.

    Args:
        overwrite: remove shards that are not this build's, and a whole data set even if it is.

    Raises:
        DataError: shards of another build are there.
    """
    work = directory / WORK_NAME
    before = _recipe_before(directory, wanted)
    finished = (directory / MANIFEST_NAME).exists()
    if before == wanted and not (finished and overwrite):
        (work / RECEIPTS_NAME).mkdir(exist_ok=True)
        if not finished and not is_current(directory):
            remember(directory, wanted)
        return finished
    shards = [path for path in directory.iterdir() if SHARD.fullmatch(path.name)]
    started = any(path.suffix != ".tmp" for path in shards)
    if (started or finished) and not overwrite:
        raise DataError(
            f"A build goes on with what it began with, but {directory} was begun with other input "
            f"({_changes(before, wanted)}): restore that, give another --output_directory, or --overwrite what is there."
        )
    (directory / MANIFEST_NAME).unlink(missing_ok=True)  # first: without it nothing else counts
    shutil.rmtree(work / RECEIPTS_NAME, ignore_errors=True)
    for path in shards:
        path.unlink()
    (work / RECEIPTS_NAME).mkdir(exist_ok=True)
    remember(directory, wanted)
    return False


def remember(directory: Path, wanted: dict[str, Any]) -> None:
    """Write down what a build is to make."""
    write_sealed(directory / WORK_NAME / RECIPE_NAME, VERSION, wanted)


def _recipe_before(directory: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The recipe that is written down, or None. One of version 1 has no "files": they count as those that are wanted."""
    path = directory / WORK_NAME / RECIPE_NAME
    before = read_sealed(path, VERSION)
    if before is None:
        try:
            old = json.loads(path.read_bytes())
            if "version" not in old and isinstance(old["labels"], list) and isinstance(old["sources"], dict):
                before = {**old, "files": wanted["files"]}
        except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
            pass
    return before


def _changes(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    if before is None:
        return "no record of it that this version reads is left"
    differ = [key for key in before | now if before.get(key) != now.get(key)]
    told = [f"{key} was {before.get(key)}, is {now.get(key)}" for key in differ if key not in ("labels", "sources", "files")]
    if not told:  # what is held out follows from the options
        both = [(before[part], now[part]) for part in ("sources", "files")]
        changed = [key for old, new in both for key in old | new if old.get(key) != new.get(key)]
        told = [f"{key} changed" for key in dict.fromkeys(changed)] or ["the order of labels changed"]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def only_times_differ(directory: Path, wanted: dict[str, Any]) -> bool:
    """Whether the build in `directory` is the one that is wanted but for the times of the images, as of a copy of them."""
    before = read_sealed(directory / WORK_NAME / RECIPE_NAME, VERSION)
    return before is not None and before != wanted and {**before, "sources": wanted["sources"]} == wanted


def require_same_content(directory: Path, plan: Plan, digests: dict[Split, Digests]) -> None:
    """Check that the images of shards that are finished have the content with which these were written.

    Args:
        digests: of all images of the plan.

    Raises:
        DataError: names one that has another, or a shard of which no receipt is left to tell.
    """
    finished = (directory / MANIFEST_NAME).exists()
    for number, (_, name, _) in enumerate(plan.shards):
        receipt = read_receipt(directory, name)
        changed = receipt and _first_changed(plan, number, receipt, digests)
        if changed or (finished and not receipt):
            wrong = f"{changed} has another content" if changed else f"the images of {name} have other times"
            raise DataError(
                f"A build goes on with what it began with, but {directory} was begun with other input ({wrong}): restore "
                f"that, give another --output_directory, or --overwrite what is there."
            )


def _first_changed(plan: Plan, number: int, receipt: WrittenShard, digests: dict[Split, Digests]) -> Path | None:
    """An image of a shard whose content is not that of which its receipt tells."""
    split, _, where = plan.shards[number]
    then, now = as_digests(bytes.fromhex(receipt.digests)), digests[split][where.start : where.stop]
    rejected = {reject["path"]: reject["reason"] for reject in receipt.rejects}
    for index in np.flatnonzero(np.any(then != now, axis=1)).tolist():
        path = plan.sources[split].path(where.start + index)
        place = plan.roots[split] / path
        nothing = path in rejected and now[index].tolist() == as_digests(digest_of_none(place))[0].tolist()
        # What could not be read then is asked for again where the shard is.
        if not nothing and rejected.get(path) != "unreadable":
            return place
    return None


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
    """The receipt of a shard, if an earlier attempt finished it, it is still what that wrote, and none of its images that
    could not be read can be read now."""
    receipt = read_receipt(directory, shard.name)
    if receipt is None:
        return None
    try:
        if sha256_of(directory / shard.name) != receipt.sha256:
            return None
    except FileNotFoundError:
        return None
    unreadable = (shard.root / reject["path"] for reject in receipt.rejects if reject["reason"] == "unreadable")
    return None if any(map(_can_be_read, unreadable)) else receipt


def finish_shard(directory: Path, shard: WrittenShard) -> None:
    """Leave the receipt of a shard whose file is in place. It stays when the data set is finished, to mend it by."""
    # Not durable: what a crash of the machine loses here is a shard's work, and no more.
    write_sealed(_receipt(directory, shard.name), VERSION, asdict(shard), durable=False)


def _can_be_read(path: Path) -> bool:
    try:
        images.read(path)
    except images.RejectedError:
        return False
    return True


def _receipt(directory: Path, name: str) -> Path:
    return directory / WORK_NAME / RECEIPTS_NAME / f"{name}.json"
