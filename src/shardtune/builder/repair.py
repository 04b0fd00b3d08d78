"""Find the damaged shards of a finished data set, and write these alone again, to the digests in its manifest."""

from pathlib import Path
from typing import Literal

from shardtune.builder.partition import Plan, ShardPlan, to_digests
from shardtune.builder.receipts import ShardReceipt, first_changed_image, load_receipt, match_receipt, save_receipt
from shardtune.builder.shard import OtherShardError, write_shard
from shardtune.builder.sources import SourceReader
from shardtune.builder.tracker import BuildTracker
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest, Shard
from shardtune.errors import DataError
from shardtune.images.pixels import ImageOptions
from shardtune.images.stored import pillow_warnings_ignored
from shardtune.runtime.balance import balance
from shardtune.runtime.files import sha256_file
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World


def find_damaged_shards(directory: Path, manifest: Manifest, world: World) -> list[str]:
    """Names of the shards of a finished data set that are missing or damaged. All ranks must call it.

    Of shards that were written before the manifest, only the lengths are compared: reading all would take as long as `verify`.
    """
    states = world.broadcast_from_root(lambda: [_state(directory, shard) for shard in manifest.shards])
    newer = [shard for shard, state in zip(manifest.shards, states, strict=True) if state == "newer"]
    damaged = []
    for index in balance([shard.bytes for shard in newer], world.size)[world.rank]:
        world.guard.heartbeat(f"at {newer[index].name}")
        if sha256_file(directory / newer[index].name) != newer[index].sha256:
            damaged.append(newer[index].name)
    all_damaged = {name for names in world.allgather(damaged) for name in names}
    pairs = zip(manifest.shards, states, strict=True)
    return [shard.name for shard, state in pairs if state == "wrong" or shard.name in all_damaged]


def _state(directory: Path, shard: Shard) -> Literal["wrong", "newer", "older"]:
    """Whether a shard has another length than it should, or else is newer than the manifest, which is written last."""
    if shard.length_in(directory) != shard.bytes:
        return "wrong"
    written, finished = ((directory / name).stat().st_mtime_ns for name in (shard.name, MANIFEST_NAME))
    return "newer" if written > finished else "older"


def repair_shards(
    damaged: list[str],
    directory: Path,
    manifest: Manifest,
    plan: RootOnly[Plan],
    words: list[str],
    options: ImageOptions,
    world: World,
) -> None:
    """Write shards of a finished data set again. All ranks must call it.

    Raises:
        DataError: a shard would not be as before, because an image has changed. It stays as it is; the others are repaired.
    """
    digests = {shard.name: shard.sha256 for shard in manifest.shards}
    parts: list[list[ShardPlan]] = []
    if world.is_root:
        ranges = [shard for shard in plan.get().shards if shard.name in damaged]
        in_parts = balance([plan.get().source_bytes(shard) for shard in ranges], world.size)
        parts = [[plan.get().shard_plan(ranges[number]) for number in numbers] for numbers in in_parts]
    images = world.broadcast_from_root(lambda: sum(len(shard.sources) for part in parts for shard in part))
    problems = []
    own = world.scatter(parts)
    with (
        BuildTracker(world, images, lambda rejects: None) as tracker,
        pillow_warnings_ignored(),
        SourceReader((shard.root, shard.sources) for shard in own) as sources,
    ):
        for shard in own:
            world.guard.heartbeat(f"at the start of {shard.name}")
            try:
                receipt = write_shard(
                    shard, directory, manifest.labels, words, options, sources, tracker, sha256=digests[shard.name]
                )
                save_receipt(directory, receipt)
            except OtherShardError as error:
                receipt = error.receipt
                problems.append(f"{shard.name} ({_describe_difference(directory, shard, receipt)})")
            tracker.shard_finished(receipt, reused=False)
        tracker.wait_for_shards(len(damaged))
    all_problems = sorted(problem for of_rank in world.allgather(problems) for problem in of_rank)
    world.run_on_root(lambda: _check_none_differs(directory, all_problems))
    print_on_root(world, f"Repaired: {', '.join(damaged)}, with the digests in {MANIFEST_NAME}.")


def _describe_difference(directory: Path, shard: ShardPlan, receipt: ShardReceipt) -> str:
    """Why a shard is not what it was."""
    before = load_receipt(directory, shard.name)
    matching = before and match_receipt(before, shard)
    changed = matching and first_changed_image(shard, matching, to_digests(receipt.digests))
    if changed:
        return f"{changed} has another content than when it was built"
    return "the same images give other bytes" if matching else "its receipt is lost, so which image has changed is not known"


def _check_none_differs(directory: Path, problems: list[str]) -> None:
    if problems:
        raise DataError(
            f"{directory} has shards that cannot be written again as they were: {', '.join(problems)}.",
            "Restore these images, or the shards from a copy, or pass --overwrite to build the data set again.",
        )
