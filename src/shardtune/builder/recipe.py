"""The recipe of a build: all that decides its bytes. The next attempt resumes only a build of the same recipe."""

import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from shardtune.builder.listing import FileTable, printable_path
from shardtune.builder.partition import Plan
from shardtune.builder.receipts import RECEIPTS_NAME, Reject, other_input_error, remove_receipts
from shardtune.dataset.manifest import MANIFEST_NAME, SCHEMA_VERSION, WORK_NAME
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.runtime.sealed import read_sealed, write_sealed

RECIPE_NAME = "recipe.json"
MAX_CHANGES_LISTED = 3
SHARD = re.compile(r"(train|validation|test)-\d{5,}-of-\d{5,}")


def make_recipe(plan: Plan, options: dict[str, Any], rejected: Collection[str] = ()) -> dict[str, Any]:
    """All that decides the bytes of a data set: options, labels, and the files of each class.

    "sources" holds a hash of path, size and time of the files of each class, "files" one of path and size. Which of them are
    held out or skipped follows from these and the options.

    Args:
        rejected: keys (see `_image_key`) of the images whose own hashes are listed under "rejected".
    """
    sources, files, entries = dict[str, int](), dict[str, int](), dict[str, list[str]]()
    tables = {split.source: split.files for split in plan.splits.values()}
    for source, table in tables.items():
        groups = [f"{source} images of {name}" for name in plan.labels]
        hashes = table.hashes or class_hashes(table)
        for label, group in enumerate(groups, start=1):
            files[group], sources[group] = hashes.get(label, (0, 0))
        for row in range(len(table)) if rejected else ():
            if (key := f"{source}/{printable_path(table.path(row))}") in rejected:
                file_hash, timed_hash = _file_hashes(table, row)
                entries[key] = [groups[table.labels[row] - 1], _hex(timed_hash), _hex(file_hash)]
    by_class = {
        "sources": {group: _hex(value) for group, value in sources.items()},
        "files": {group: _hex(value) for group, value in files.items()},
    }
    return {**options, "labels": plan.labels, **by_class, "rejected": entries}


def class_hashes(table: FileTable) -> dict[int, tuple[int, int]]:
    """For each label, hashes of path and size, and of path, size and time, of its files.

    No file is listed twice, so no two hashes cancel out, and the order does not matter: so the ranks can share them out.
    """
    hashes: dict[int, tuple[int, int]] = {}
    for row, label in enumerate(table.labels.tolist()):
        files, sources = hashes.get(label, (0, 0))
        file_hash, timed_hash = _file_hashes(table, row)
        hashes[label] = files ^ file_hash, sources ^ timed_hash
    return hashes


def _file_hashes(table: FileTable, row: int) -> tuple[int, int]:
    """128-bit hashes of a file's path, size and group, if it has one, and of these and its time."""
    group = b"" if table.groups is None else b"\0" + table.groups[row].tobytes()
    digest = hashlib.blake2b(table.name(row) + f"\0{table.sizes[row]}".encode() + group, digest_size=16)
    timed = digest.copy()
    timed.update(f"\0{table.mtimes[row]}".encode())
    return int.from_bytes(digest.digest(), "little"), int.from_bytes(timed.digest(), "little")


def _hex(value: int) -> str:
    return f"{value:032x}"


def _image_key(plan: Plan, split: Split, path: str) -> str:
    return f"{plan.splits[split].source}/{path}"


def record_rejects(directory: Path, plan: Plan, options: dict[str, Any], rejects: Sequence[Reject]) -> None:
    """Add rejected images to the recipe: the next attempt may find them repaired or removed."""
    keys = {_image_key(plan, reject["split"], reject["path"]) for reject in rejects}
    if keys:
        save_recipe(directory, make_recipe(plan, options, keys))


def load_rejected_keys(directory: Path) -> Collection[str]:
    """The keys (see `_image_key`) of the images that an earlier attempt rejected."""
    recipe = read_sealed(directory / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION)
    return recipe.get("rejected", {}).keys() if recipe else ()


def prepare_output(directory: Path, wanted: dict[str, Any], *, overwrite: bool) -> bool:
    """Prepare `directory` for the build of the recipe `wanted`. Returns whether that build is finished already.

    Args:
        overwrite: remove the shards of another build, and a finished data set even if it is this build's.

    Raises:
        DataError: the directory holds shards or a data set of another build, or of one without a readable recipe.
    """
    is_finished = (directory / MANIFEST_NAME).exists()
    saved = _load_recipe(directory, wanted, is_finished=is_finished)
    wanted = {**wanted, "rejected": saved["rejected"] if saved else {}}
    if saved == wanted and not (is_finished and overwrite):
        (directory / WORK_NAME / RECEIPTS_NAME).mkdir(exist_ok=True)
        if not is_finished:
            save_recipe(directory, wanted)
        return is_finished
    shards = [path for path in directory.iterdir() if SHARD.fullmatch(path.name)]
    if (shards or is_finished) and not overwrite:
        if saved is not None:
            raise other_input_error(directory, _describe_changes(saved, wanted))
        raise DataError(
            f"{directory} holds {'a data set' if is_finished else 'shards'} without a record of the build that this version "
            f"can read.",
            "Choose another --output_directory, or pass --overwrite to replace it.",
        )
    (directory / MANIFEST_NAME).unlink(missing_ok=True)  # first, because a manifest means that all the rest is complete
    remove_receipts(directory)
    for path in shards:
        path.unlink()
    (directory / WORK_NAME / RECEIPTS_NAME).mkdir(exist_ok=True)
    save_recipe(directory, {**wanted, "rejected": {}})
    return False


def save_recipe(directory: Path, recipe: dict[str, Any]) -> None:
    write_sealed(directory / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION, recipe)


def has_only_other_times(directory: Path, wanted: dict[str, Any]) -> bool:
    """Whether the build in `directory` differs from `wanted` only in the times of the images, as after copying them."""
    saved = _load_recipe(directory, wanted, is_finished=(directory / MANIFEST_NAME).exists())
    if saved is None:
        return False
    compared = (saved.keys() | wanted.keys()) - {"sources", "rejected"}
    return saved["sources"] != wanted["sources"] and all(saved.get(key) == wanted.get(key) for key in compared)


def _load_recipe(directory: Path, wanted: dict[str, Any], *, is_finished: bool) -> dict[str, Any] | None:
    """The saved recipe, adjusted for repaired and removed images; None if there is none that this version can read."""
    saved = read_sealed(directory / WORK_NAME / RECIPE_NAME, SCHEMA_VERSION)
    return None if saved is None else _adjust_for_rejects(saved, wanted, is_finished=is_finished)


def _adjust_for_rejects(saved: dict[str, Any], wanted: dict[str, Any], *, is_finished: bool) -> dict[str, Any]:
    """The saved recipe as if its rejected images had been as they are now: changed or removed.

    Args:
        is_finished: leave changed images as they were, because repaired ones belong in the data set, which lacks them.
    """
    hashes = {"sources": dict(saved["sources"]), "files": dict(saved["files"])}
    rejected = dict(saved.get("rejected", {}))
    for key, old in saved.get("rejected", {}).items():
        new = wanted["rejected"].get(key)
        if new != old and not (is_finished and new):
            for group, *values in filter(None, (old, new)):
                for by_group, value in zip(hashes.values(), values, strict=True):
                    by_group[group] = _hex(int(by_group.get(group, "0"), 16) ^ int(value, 16))
            del rejected[key]
    return {**saved, **hashes, "rejected": rejected}


def _describe_changes(saved: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Which options changed, or if none did, the images of which classes."""
    inputs = ("labels", "sources", "files", "rejected")
    keys = [key for key in saved | wanted if saved.get(key) != wanted.get(key) and key not in inputs]
    changes = [f"{key} was {saved.get(key)}, is {wanted.get(key)}" for key in keys]
    if not changes:
        pairs = [(saved[name], wanted[name]) for name in ("sources", "files")]
        groups = [group for old, new in pairs for group in old | new if old.get(group) != new.get(group)]
        changes = [f"{group} changed" for group in dict.fromkeys(groups)] or ["the order of labels changed"]
    more = len(changes) - MAX_CHANGES_LISTED
    return "; ".join(changes[:MAX_CHANGES_LISTED]) + (f"; and {more} more" if more > 0 else "")
