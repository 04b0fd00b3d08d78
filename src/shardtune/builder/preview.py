"""`shardtune build --dry_run`: say what a build would do, and write nothing."""

import os
import shutil
from collections.abc import Iterator
from itertools import compress
from pathlib import Path

import numpy as np
from rich.filesize import decimal

from shardtune.builder import receipts
from shardtune.builder.config import BuildConfig
from shardtune.builder.digests import DIGESTS_NAME
from shardtune.builder.listing import printable_path
from shardtune.builder.partition import Plan
from shardtune.builder.plan import make_plan
from shardtune.builder.summary import idle_ranks
from shardtune.builder.survey import survey
from shardtune.dataset.manifest import MANIFEST_NAME, WORK_NAME
from shardtune.runtime.balance import balance
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

MAX_CLASSES_LISTED = 20


def preview(config: BuildConfig, world: World) -> None:
    """Print what `build` would make of the images.

    They are read only where splits depend on their content, and an earlier build has not kept its digests.

    Raises:
        DataError, WorldError: as `build` before it writes.
    """
    world.guard.set_timeout(config.hang_timeout)
    found = survey(config, world)
    cache = config.output_directory / WORK_NAME / DIGESTS_NAME
    plan, _ = make_plan(config, found.names, found.directories, found.tables, cache, world, is_saved=False)
    lines = world.run_on_root(lambda: list(_describe(config, plan.get(), world.size)))
    for line in lines.get() if world.is_root else ():
        print_on_root(world, line)


def _describe(config: BuildConfig, plan: Plan, ranks: int) -> Iterator[str]:
    directory, classes = config.output_directory, len(plan.labels)
    is_finished = (directory / MANIFEST_NAME).exists()
    counts = {
        split: np.bincount(part.files.labels[part.stored], minlength=classes + 1)[1:].tolist()
        for split, part in plan.splits.items()
    }
    yield f"Classes: {classes}, of {min(counts['train'])} to {max(counts['train'])} training images."
    for number, name in enumerate(plan.labels[:MAX_CLASSES_LISTED]):
        yield f"  {name}: {', '.join(f'{of_class[number]} {split}' for split, of_class in counts.items())}"
    if classes > MAX_CLASSES_LISTED:
        yield f"  and {classes - MAX_CLASSES_LISTED} more"
    for split, part in plan.splits.items():
        sizes = [len(shard.rows) for shard in plan.shards if shard.split == split]
        skipped = f"; {len(part.skipped)} more are identical to others and left out" if len(part.skipped) else ""
        yield (
            f"The {split} split: {len(part.stored)} images of {decimal(int(part.files.sizes[part.stored].sum()))} in "
            f"{len(sizes)} shards of {min(sizes)} to {max(sizes)}{skipped}."
        )
    weights = [plan.source_bytes(shard) for shard in plan.shards]
    yield from _describe_ranks(weights, ranks)
    missing = [(is_finished and config.overwrite) or not receipts.has_receipt(directory, shard.name) for shard in plan.shards]
    yield from _describe_space(directory, sum(compress(weights, missing)))
    yield from _describe_names(plan)
    if is_finished:
        stays = "which a build of the same input leaves as it is; another needs --overwrite"
        yield f"{directory} holds a finished data set, {'which is replaced' if config.overwrite else stays}."
    elif (directory / WORK_NAME).exists():
        yield f"{directory} holds a build that has not finished: a build of the same input resumes it."
    yield "Nothing was written, and no image was decoded."


def _describe_ranks(weights: list[int], ranks: int) -> Iterator[str]:
    parts = balance(weights, ranks)
    shards, sizes = [len(part) for part in parts], [sum(weights[number] for number in part) for part in parts]
    images = f"{decimal(min(sizes))} to {decimal(max(sizes))} of images"
    yield f"Ranks: {ranks}, of {min(shards)} to {max(shards)} shards and {images}."
    yield from idle_ranks(ranks, len(weights))


def _describe_space(directory: Path, needed: int) -> Iterator[str]:
    """Bytes to write and those that are free where the directory is, or will be."""
    existing = next(folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    verdict = "" if needed < free else " That is not enough."
    size = f"about {decimal(needed)} to write, more or less where images are re-encoded"
    yield f"Space: {size}; {decimal(free)} are free.{verdict}"


def _describe_names(plan: Plan) -> Iterator[str]:
    paths = (part.files.path(row) for part in plan.splits.values() for row in part.stored.tolist())
    longest = max(paths, key=lambda path: len(os.fsencode(path)))
    name = max(plan.labels, key=lambda label: len(label.encode()))
    yield f"Longest path: {printable_path(longest)} ({len(os.fsencode(longest))} bytes); longest class: {name}."
