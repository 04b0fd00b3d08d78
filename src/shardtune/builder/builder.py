"""`shardtune build`: each rank writes some of the shards, and rank 0 writes the manifest at the end."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features as codecs

from shardtune.builder import receipts, recipe
from shardtune.builder.config import BuildConfig
from shardtune.builder.digests import DIGESTS_NAME, DigestPass, digest_tables
from shardtune.builder.finalize import check_rejects, write_manifest
from shardtune.builder.partition import Plan, ShardPlan
from shardtune.builder.plan import make_plan
from shardtune.builder.repair import find_damaged_shards, repair_shards
from shardtune.builder.restore import find_shards_without_receipt, restore_files
from shardtune.builder.shard import ShardStamp, shard_overwritten_error, write_shard
from shardtune.builder.sources import SourceReader
from shardtune.builder.summary import idle_ranks, print_summary
from shardtune.builder.survey import Survey, survey
from shardtune.builder.tracker import BuildTracker
from shardtune.dataset.integrity import check_metadata_files
from shardtune.dataset.manifest import MANIFEST_NAME, WORK_NAME, Manifest
from shardtune.dataset.splits import SPLITS
from shardtune.errors import DataError, UsageError
from shardtune.images.pixels import ImageOptions
from shardtune.images.stored import pillow_warnings_ignored
from shardtune.runtime.balance import balance
from shardtune.runtime.files import filename_in_errors, sha256_file
from shardtune.runtime.locking import exclusive_directory
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World

LOG_NAME = "builds.jsonl"


def build(config: BuildConfig, world: World) -> Manifest:
    """Write all shards of the data set and, when every image is accounted for, its manifest.

    Shards that an earlier attempt finished are not written again. What a finished data set has lost, and shards of it that are
    damaged, are restored.

    Raises:
        UsageError: `dry_run` is set.
        DataError: image directories or labels are wrong, the output directory holds a build of other input, or more than
            `max_rejects` images cannot be stored (the shards stay, but no manifest is written).
        WorldError: another build uses the output directory or takes it over, or a rank does not see it or the same images.
    """
    if config.dry_run:
        raise UsageError("build() writes, which --dry_run forbids.", "Call preview().")
    started = time.monotonic()
    world.guard.set_timeout(config.hang_timeout)
    found = survey(config, world)
    work = config.output_directory / WORK_NAME
    with exclusive_directory(work, world, covers=config.output_directory):
        world.use_roll_call(work)
        manifest = _build(config, found, world)
    images = sum(map(manifest.examples, SPLITS))
    if world.is_root:
        seconds = round(time.monotonic() - started, 3)
        _append_log(work / LOG_NAME, {"ranks": world.size, "seconds": seconds, "images": images, "ignored": found.ignored})
    for split, shards in reversed(manifest.splits.items()):  # the order, and the sentence, of build_image_data.py of 2016
        if shards:
            print_on_root(world, f"The {split} split has {len(shards)} shard(s).")
            print_on_root(world, f"Finished writing all {sum(shard.examples for shard in shards)} images in data set.")
    return manifest


def _build(config: BuildConfig, found: Survey, world: World) -> Manifest:
    directory = config.output_directory
    plan, read = make_plan(config, found.names, found.directories, found.tables, directory / WORK_NAME / DIGESTS_NAME, world)
    if _prepare_output(config, plan, found, world):
        return world.broadcast_from_root(lambda: Manifest.load(directory))
    by_name = _write_shards(config, found.names, found.words, plan, read, world)
    manifest = world.broadcast_from_root(lambda: _finish(config, plan.get(), found.words, by_name))
    print_summary(directory, manifest, world)
    return manifest


def _prepare_output(config: BuildConfig, plan: RootOnly[Plan], found: Survey, world: World) -> bool:
    """Prepare the output directory for this build. Returns whether it holds the complete data set already."""
    directory = config.output_directory
    wanted = world.run_on_root(
        lambda: recipe.make_recipe(plan.get(), build_options(config), recipe.load_rejected_keys(directory))
    )
    if world.broadcast_from_root(lambda: not config.overwrite and recipe.has_only_other_times(directory, wanted.get())):
        digests = digest_tables(found.directories, found.tables, directory / WORK_NAME / DIGESTS_NAME, world).digests
        world.run_on_root(lambda: receipts.check_same_content(directory, plan.get(), digests.get()))
        world.run_on_root(lambda: recipe.save_recipe(directory, wanted.get()))
    if not world.broadcast_from_root(lambda: recipe.prepare_output(directory, wanted.get(), overwrite=config.overwrite)):
        return False
    manifest, others = world.broadcast_from_root(lambda: _check_metadata(directory))
    shards = find_damaged_shards(directory, manifest, world) if manifest else []
    if not (shards or others):
        print_on_root(world, f"The data set in {directory} was finished before: nothing to do.")
        return True
    lost = ", ".join(shards + others)
    print_on_root(world, f"The data set in {directory} was finished before, but lost {lost}: writing them again.")
    if not manifest:  # the build ends anew, which replaces it
        return False
    if manifest.reports.keys() & set(others):
        unknown = world.broadcast_from_root(lambda: find_shards_without_receipt(directory, manifest, plan.get()))
        shards = sorted({*shards, *unknown})
    if shards:
        repair_shards(shards, directory, manifest, plan, found.words, _image_options(config), world)
    world.run_on_root(lambda: restore_files(others, directory, manifest, plan.get()))
    return True


def _check_metadata(directory: Path) -> tuple[Manifest | None, list[str]]:
    """The manifest of a finished data set, if it is whole, and the names of the files beside the shards that are not."""
    try:
        manifest = Manifest.load(directory)
    except DataError:
        return None, [MANIFEST_NAME]
    return manifest, [finding.partition(":")[0] for finding in check_metadata_files(directory, manifest)]


def _image_options(config: BuildConfig) -> ImageOptions:
    return ImageOptions(config.check, config.exif, config.max_side, config.quality, config.min_side, config.strip_metadata)


def _write_shards(
    config: BuildConfig, names: list[str], words: list[str], plan: RootOnly[Plan], read: DigestPass, world: World
) -> dict[str, receipts.ShardReceipt]:
    """Write all shards that are not finished. Returns, on rank 0, the receipts of all shards by name."""
    directory = config.output_directory
    shards, images = world.broadcast_from_root(lambda: (len(plan.get().shards), plan.get().images))
    for line in idle_ranks(world.size, shards):
        print_on_root(world, line)
    image_options = _image_options(config)

    def check(rejects: list[receipts.Reject]) -> None:
        if len(rejects) > config.max_rejects:
            recipe.record_rejects(directory, plan.get(), build_options(config), rejects)
        check_rejects(rejects, config.max_rejects, directory)

    stamps: list[ShardStamp] = []
    with BuildTracker(world, images, check) as tracker:

        def finished(receipt: receipts.ShardReceipt, *, reused: bool) -> None:
            stamps.append(ShardStamp.of(directory / receipt.name, receipt))
            tracker.shard_finished(receipt, reused=reused)

        missing = []
        for shard in world.scatter(_assign_shards(plan.get(), read, directory, world.size) if world.is_root else ()):
            world.guard.heartbeat(f"at the start of {shard.name}")
            if resumed := receipts.load_valid_receipt(directory, shard):
                finished(resumed, reused=True)
            else:
                missing.append(shard)
        files = ((shard.root, shard.sources) for shard in missing)
        with pillow_warnings_ignored(), SourceReader(files, read.kept) as sources:
            for shard in missing:
                receipt = write_shard(shard, directory, names, words, image_options, sources, tracker)
                receipts.save_receipt(directory, receipt)
                finished(receipt, reused=False)
        tracker.wait_for_shards(shards)
    world.barrier()  # so that the stamps are compared as late as possible
    changed = [path for paths in world.allgather([s.path for s in stamps if not s.is_unchanged()]) for path in paths]
    world.run_on_root(lambda: _check_none_overwritten(changed))
    return tracker.receipts


def _assign_shards(plan: Plan, read: DigestPass, directory: Path, ranks: int) -> Iterator[list[ShardPlan]]:
    """The shards of each rank, in order. A shard that seems finished is only read, so it counts as a twentieth."""
    weights, preferred = list[int](), list[int | None]()
    for shard in plan.shards:
        weight, rows = plan.source_bytes(shard), plan.rows(shard)
        weights.append(weight // 20 if receipts.has_receipt(directory, shard.name) else weight)
        if len(rows) and (first_rows := read.first_rows.get()):
            # The rank that may have kept the content of its images.
            reader = np.searchsorted(first_rows[plan.splits[shard.split].source], rows[len(rows) // 2], side="right") - 1
            preferred.append(int(reader) if reader >= 0 else None)  # before the first row are those that nobody read
        else:
            preferred.append(None)
    for numbers in balance(weights, ranks, preferred):
        yield [plan.shard_plan(plan.shards[number]) for number in numbers]


def _check_none_overwritten(changed: list[Path]) -> None:
    if changed:
        raise shard_overwritten_error(changed[0])


def _finish(config: BuildConfig, plan: Plan, words: list[str], by_name: dict[str, receipts.ShardReceipt]) -> Manifest:
    in_order = [by_name[shard.name] for shard in plan.shards]
    rejects = [reject for receipt in in_order for reject in receipt.rejects]
    recipe.record_rejects(config.output_directory, plan, build_options(config), rejects)
    return write_manifest(config.output_directory, plan, words, build_options(config), in_order)


def build_options(config: BuildConfig) -> dict[str, Any]:
    """All options that decide the bytes of a data set, and the versions of the codecs."""
    names = "validation_fraction validation_examples train_shards validation_shards seed duplicates check exif max_side quality"
    new = "test_fraction test_shards group_by min_side strip_metadata"
    boxes, metadata = config.bounding_box_file, config.imagenet_metadata_file
    return {
        # Absent without the file, so that the data sets of before this flag stay as they are.
        **({"imagenet_metadata_sha256": sha256_file(metadata)} if metadata else {}),
        "bounding_boxes_sha256": sha256_file(boxes) if boxes else None,
        **{name: getattr(config, name) for name in names.split()},
        # Absent unless given, for the same reason.
        **{name: getattr(config, name) for name in new.split() if getattr(config, name) != getattr(BuildConfig, name)},
        "ignore": list(config.ignore),
        "codecs": {"pillow": codecs.version("pil"), "libjpeg": codecs.version("libjpeg_turbo") or codecs.version("jpg")},
    }


def _append_log(path: Path, values: dict[str, Any]) -> None:
    with filename_in_errors(path), path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(values) + "\n")
