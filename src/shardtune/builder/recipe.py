"""What a build is to make, written down for its next attempt, which goes on only with that."""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from shardtune.builder.listing import FileTable, printable_path
from shardtune.builder.partition import Plan
from shardtune.builder.receipts import RECEIPTS_NAME, Reject, remove_receipts
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, WORK_NAME, Split
from shardtune.errors import DataError
from shardtune.runtime.sealed import read_sealed, write_sealed

RECIPE_NAME = "recipe.json"
SHARD = re.compile(r"(train|validation)-\d{5,}-of-\d{5,}")


def describe(plan: Plan, options: dict[str, Any], rejected: Collection[str] = ()) -> dict[str, Any]:
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


def _digests(listing: FileTable, index: int) -> tuple[int, int]:
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
        remember(directory, describe(plan, options, keys))


def rejected_before(directory: Path) -> Collection[str]:
    """The images that an earlier attempt rejected, by `_key`."""
    before = read_sealed(directory / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION)
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
    remove_receipts(directory)
    for path in shards:
        path.unlink()
    (work / RECEIPTS_NAME).mkdir(exist_ok=True)
    remember(directory, {**wanted, "rejected": {}})
    return False


def remember(directory: Path, wanted: dict[str, Any]) -> None:
    """Write down what a build is to make."""
    write_sealed(directory / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION, wanted)


def _recipe_before(directory: Path, wanted: dict[str, Any], *, finished: bool) -> dict[str, Any] | None:
    """The recipe that is written down, see `_expected`, or None."""
    path = directory / WORK_NAME / RECIPE_NAME
    before = read_sealed(path, SCHEMA_VERSION)
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


def is_current(directory: Path) -> bool:
    """Whether the build in `directory` was begun by this version, so that its shards can be told from what they should be."""
    return read_sealed(directory / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION) is not None
