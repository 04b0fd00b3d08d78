"""`shardtune build`: the ranks share out the shards, each writes its own, rank 0 writes the manifest last."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import features as codecs

from shardtune.builder import receipts, recipe
from shardtune.builder.config import BuildConfig
from shardtune.builder.duplicates import digest_files
from shardtune.builder.finalize import DUPLICATES_NAME, finish, require_few
from shardtune.builder.ignored import Ignored
from shardtune.builder.images import ImageOptions
from shardtune.builder.listing import FileTable
from shardtune.builder.partition import Digests, Plan, ShardPlan
from shardtune.builder.plan import check_same_view, find_labels, make_plan, scan_splits
from shardtune.builder.shard import Seal, not_as_written, write_shard
from shardtune.builder.tracker import BuildTracker
from shardtune.dataset.integrity import check_metadata_files
from shardtune.dataset.manifest import MANIFEST_NAME, SPLITS, WORK_NAME, Manifest, Split
from shardtune.errors import DataError
from shardtune.runtime.balance import balance
from shardtune.runtime.files import filename_in_errors, sha256_file
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import RootOnly, World

DIGESTS_NAME = "digests.bin"
LOG_NAME = "builds.jsonl"
CLASSES_TOLD = 10


def build(config: BuildConfig, world: World) -> Manifest:
    """Write all shards of the data set and, when every image is accounted for, its manifest.

    What an earlier attempt finished is not done again; a finished data set that has lost files gets them back.

    Raises:
        DataError: folders or labels are wrong, the output directory was begun with other input, or more than
            `max_rejects` images could not be stored (the shards stay, but no manifest is written).
        WorldError: another build writes there or takes over, or a rank does not see the output directory or the same images.
    """
    started = time.monotonic()
    world.guard.set_timeout(config.hang_timeout)
    names = world.broadcast_from_root(lambda: find_labels(config))
    ignored = Ignored(config.ignore)
    found = world.run_on_root(lambda: scan_splits(config, names, ignored, lambda: world.guard.heartbeat("looking for images")))
    if ignored.counts:
        print_on_root(
            world, f"Ignored: {', '.join(f'{count} {pattern}' for pattern, count in sorted(ignored.counts.items()))}."
        )
    check_same_view(config, found, world)
    with exclusive_directory(config.output_directory / WORK_NAME, world, covers=config.output_directory):
        world.use_roll_call(config.output_directory / WORK_NAME)
        manifest = _build(config, names, found, world)
    images = sum(map(manifest.examples, SPLITS))
    if world.is_root:
        path = config.output_directory / WORK_NAME / LOG_NAME
        with filename_in_errors(path), path.open("a", encoding="utf-8") as log:
            seconds = round(time.monotonic() - started, 3)
            figures = {"ranks": world.size, "seconds": seconds, "images": images, "ignored": ignored.counts}
            log.write(json.dumps(figures) + "\n")
    print_on_root(world, f"Finished writing all {images} images in data set.")
    return manifest


def _build(config: BuildConfig, names: list[str], found: RootOnly[dict[Split, FileTable]], world: World) -> Manifest:
    directory = config.output_directory
    planned = make_plan(config, names, found, directory / WORK_NAME / DIGESTS_NAME, world)
    wanted = world.run_on_root(lambda: recipe.describe(planned.get(), options(config), recipe.rejected_before(directory)))
    if world.broadcast_from_root(lambda: not config.overwrite and recipe.only_times_differ(directory, wanted.get())):
        _accept_times(config, planned, wanted, world)
    if world.broadcast_from_root(lambda: recipe.begin(directory, wanted.get(), overwrite=config.overwrite)):
        damaged = world.broadcast_from_root(lambda: _damaged(directory))
        if not damaged:
            print_on_root(world, f"The data set in {directory} was finished before: nothing to do.")
            return world.broadcast_from_root(lambda: Manifest.load(directory))
        print_on_root(
            world, f"The data set in {directory} was finished before, but lost {', '.join(damaged)}: writing them again."
        )
        world.run_on_root((directory / MANIFEST_NAME).unlink)
    shards, images = world.broadcast_from_root(lambda: (len(planned.get().shards), planned.get().images))
    if world.size > shards:
        print_on_root(world, f"{world.size - shards} of {world.size} ranks have nothing to do: there are {shards} shards.")
    image_options = ImageOptions(config.check, config.exif, config.max_side, config.quality)

    def check(rejects: list[receipts.Reject]) -> None:
        if len(rejects) > config.max_rejects:
            recipe.note_rejects(directory, planned.get(), options(config), rejects)
        require_few(rejects, config.max_rejects, directory)

    seals: list[Seal] = []
    with BuildTracker(world, images, check) as account:
        for shard in world.scatter(_assign_shards(planned.get(), directory, world.size) if world.is_root else ()):
            world.guard.heartbeat(f"at the start of {shard.name}")
            before = receipts.finished_shard(directory, shard)
            written = before or write_shard(shard, directory, names, image_options, account)
            if not before:
                receipts.finish_shard(directory, written)
            seals.append(Seal.on(directory / shard.name, written))
            account.finished(written, reused=before is not None)
        account.wait(shards)
    world.barrier()  # seals are looked at as late as can be
    broken = [path for paths in world.allgather([seal.path for seal in seals if not seal.holds]) for path in paths]
    world.run_on_root(lambda: _require_none(broken))
    manifest = world.broadcast_from_root(lambda: _finish(config, planned.get(), account))
    _tell(config, manifest, world)
    return manifest


def _accept_times(config: BuildConfig, planned: RootOnly[Plan], wanted: RootOnly[dict[str, Any]], world: World) -> None:
    """Go on with images that have other times than when the build began, if their content is the same.

    Raises:
        DataError: it is not.
    """
    cache = config.output_directory / WORK_NAME / DIGESTS_NAME
    roots = world.broadcast_from_root(lambda: planned.get().roots)
    digests: dict[Split, RootOnly[Digests]] = {}
    for split, root in roots.items():
        digests[split] = digest_files(root, partial(lambda split: planned.get().sources[split], split), cache, world)

    def accept() -> None:
        found = {split: of.get() for split, of in digests.items()}
        receipts.require_same_content(config.output_directory, planned.get(), found)
        recipe.remember(config.output_directory, wanted.get())

    world.run_on_root(accept)


def _damaged(directory: Path) -> list[str]:
    """Names of the files of a finished data set that are missing or not as they were written; shards are told by their lengths.

    Raises:
        DataError: there are some, and the data set was made by another version, which left nothing to mend it by.
    """
    current = recipe.is_current(directory)
    try:
        manifest = Manifest.load(directory)
    except DataError:
        if not current:
            raise
        return [MANIFEST_NAME]
    shards = manifest.shards
    names = [shard.name for shard in shards if shard.length_in(directory) != shard.bytes]
    names += [finding.partition(":")[0] for finding in check_metadata_files(directory, manifest)]
    if names and not current:
        raise DataError(
            f"A data set stays as it was written, but in {directory} {', '.join(names)} did not, and another version of "
            f"shardtune wrote it: build it again, with --overwrite."
        )
    return names


def _require_none(broken: list[Path]) -> None:
    if broken:
        raise not_as_written(broken[0])


def options(config: BuildConfig) -> dict[str, Any]:
    """All but the images that decides the bytes of a data set."""
    chosen = (
        "validation_fraction validation_examples train_shards validation_shards seed duplicates check exif max_side quality"
    )
    boxes = config.bounding_box_file
    return {
        "bounding_boxes_sha256": sha256_file(boxes) if boxes else None,
        **{name: getattr(config, name) for name in chosen.split()},
        "ignore": list(config.ignore),
        "codecs": {"pillow": codecs.version("pil"), "libjpeg": codecs.version("libjpeg_turbo") or codecs.version("jpg")},
    }


def _assign_shards(planned: Plan, directory: Path, ranks: int) -> Iterator[list[ShardPlan]]:
    """Each rank's shards, in turn. One that seems finished is only read once more, and weighs little."""
    weights = []
    for number, (_, name, _) in enumerate(planned.shards):
        weight = planned.bytes_of(number)
        weights.append(weight // 20 if receipts.has_receipt(directory, name) else weight)
    for numbers in balance(weights, ranks):
        yield [planned.shard(number) for number in numbers]


def _finish(config: BuildConfig, planned: Plan, account: BuildTracker) -> Manifest:
    written = [account.shards[name] for _, name, _ in planned.shards]
    rejects = [reject for shard in written for reject in shard.rejects]
    recipe.note_rejects(config.output_directory, planned, options(config), rejects)
    return finish(config.output_directory, planned, options(config), written)


def _tell(config: BuildConfig, manifest: Manifest, world: World) -> None:
    """What a person should know of a data set that they have made."""
    figures = manifest.provenance
    counts = manifest.class_counts["train"]
    print_on_root(
        world, f"Classes: {len(counts)}, of {min(counts)} to {max(counts)} training images ({figures['imbalance']:.2f} : 1)."
    )
    without = [name for name, count in zip(manifest.labels, manifest.class_counts["validation"], strict=True) if not count]
    if without and manifest.splits["validation"]:
        names = ", ".join(without[:CLASSES_TOLD]) + ", …" * (len(without) > CLASSES_TOLD)
        print_on_root(world, f"Without a validation image: {len(without)} of {len(counts)} classes ({names}).")
    for what in ("reencoded", "rejected"):
        if figures[what]:
            print_on_root(
                world, f"{what.capitalize()}: {', '.join(f'{count} {reason}' for reason, count in figures[what].items())}."
            )
    identical = figures["duplicates"]
    if identical["groups"]:
        print_on_root(
            world,
            f"Identical: {identical['images']} images in {identical['groups']} groups, {identical['groups_across_splits']} of "
            f"them across splits and {identical['groups_across_labels']} across labels, {figures['skipped']} images skipped: "
            f"see {config.output_directory / DUPLICATES_NAME}.",
        )
    boxes = figures["boxes"]
    if boxes and (boxes["moved"] or boxes["repeated"]):
        print_on_root(
            world,
            f"Boxes of images that were skipped: {boxes['moved']} are stored with the identical image, {boxes['repeated']} "
            f"equal one that it has.",
        )
