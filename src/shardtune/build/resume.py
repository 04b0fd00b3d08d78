"""What a build leaves for its next attempt: what it is to make, and a receipt for each shard that is finished."""

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shardtune.build import images
from shardtune.build.plan import Plan, ShardPlan
from shardtune.dataset.manifest import MANIFEST_NAME, Split
from shardtune.dataset.manifest import WORK_NAME as WORK_NAME  # in the output directory
from shardtune.errors import DataError
from shardtune.files import atomic_write, sha256_of, write_json

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
    """All that decides the bytes of a data set: options, labels, and the path, size and time of every file, by class."""
    sources: dict[str, str] = {}
    for split, listing in plan.sources.items():
        digests = [0] * len(plan.labels)
        for index in range(len(listing)):
            file = listing.name(index) + f"\0{listing.sizes[index]}\0{listing.mtimes[index]}".encode()
            # No file is listed twice, so nothing cancels out, and the order does not matter.
            digests[listing.labels[index] - 1] ^= int.from_bytes(hashlib.blake2b(file, digest_size=16).digest(), "little")
        sources |= {f"{split} images of {name}": f"{d:032x}" for name, d in zip(plan.labels, digests, strict=True)}
    return {**options, "labels": plan.labels, "sources": sources}


def begin(directory: Path, wanted: dict[str, Any], *, overwrite: bool) -> bool:
    """Make `directory` ready to go on with the build that `wanted` describes; returns whether that is finished already.

    Args:
        overwrite: remove shards that are not this build's, and a whole data set even if it is.

    Raises:
        DataError: shards of another build are there.
    """
    work = directory / WORK_NAME
    before = _read_json(work / RECIPE_NAME)
    finished = (directory / MANIFEST_NAME).exists()
    if before == wanted and not (finished and overwrite):
        (work / RECEIPTS_NAME).mkdir(exist_ok=True)
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
    write_json(work / RECIPE_NAME, wanted)
    return False


def _changes(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    if before is None:
        return "no record of it is left"
    differ = [key for key in before | now if before.get(key) != now.get(key)]
    told = [f"{key} was {before.get(key)}, is {now.get(key)}" for key in differ if key not in ("labels", "sources")]
    if not told:  # what is held out follows from the options
        old, new = before["sources"], now["sources"]
        told = [f"{key} changed" for key in old | new if old.get(key) != new.get(key)] or ["the order of labels changed"]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def has_receipt(directory: Path, name: str) -> bool:
    return _receipt(directory, name).exists()


def finished_shard(directory: Path, shard: ShardPlan) -> WrittenShard | None:
    """The receipt of a shard, if an earlier attempt finished it, it is still what that wrote, and none of its images that
    could not be read can be read now."""
    value = _read_json(_receipt(directory, shard.name))
    if value is None:
        return None
    try:
        if sha256_of(directory / shard.name) != value["sha256"]:
            return None
    except FileNotFoundError:
        return None
    unreadable = (shard.root / reject["path"] for reject in value["rejects"] if reject["reason"] == "unreadable")
    return None if any(map(_can_be_read, unreadable)) else WrittenShard(**value)


def finish_shard(directory: Path, shard: WrittenShard) -> None:
    """Leave the receipt of a shard whose file is in place."""
    # Not durable: what a crash of the machine loses here is a shard's work, and no more.
    with atomic_write(_receipt(directory, shard.name), durable=False) as file:
        file.write(json.dumps(asdict(shard)).encode())


def end(directory: Path) -> None:
    """Remove the receipts: the data set is finished, and its manifest tells what they told."""
    shutil.rmtree(directory / WORK_NAME / RECEIPTS_NAME, ignore_errors=True)


def _can_be_read(path: Path) -> bool:
    try:
        images.read(path)
    except images.RejectedError:
        return False
    return True


def _receipt(directory: Path, name: str) -> Path:
    return directory / WORK_NAME / RECEIPTS_NAME / f"{name}.json"


def _read_json(path: Path) -> Any:
    """What a file holds, or None where there is none or a crash of the machine spoilt it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
