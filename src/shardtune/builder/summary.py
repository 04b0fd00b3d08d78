"""What a person should know about a build before and after it."""

from pathlib import Path

from shardtune.builder.finalize import DUPLICATES_NAME
from shardtune.dataset.manifest import Manifest
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

MAX_CLASSES_LISTED = 10


def idle_ranks(ranks: int, shards: int) -> list[str]:
    """A line that says how many ranks have no shard to write, if there are more ranks than shards, and what to do."""
    advice = f"start at most {shards} ranks, or choose --train_shards {ranks} or more"
    line = f"{ranks - shards} of {ranks} ranks have no shard to write, because there are {shards} shards: {advice}."
    return [line] if ranks > shards else []


def print_summary(directory: Path, manifest: Manifest, world: World) -> None:
    """Print class sizes, classes without validation images, and what was re-encoded, rejected or identical."""
    for line in _summary(directory, manifest):
        print_on_root(world, line)


def _summary(directory: Path, manifest: Manifest) -> list[str]:
    stats, counts = manifest.provenance, manifest.class_counts["train"]
    lines = [f"Classes: {len(counts)}, of {min(counts)} to {max(counts)} training images ({stats['imbalance']:.2f} : 1)."]
    for split, shards in manifest.splits.items():
        absent = [name for name, count in zip(manifest.labels, manifest.class_counts[split], strict=True) if not count]
        if absent and shards:
            names = ", ".join(absent[:MAX_CLASSES_LISTED]) + ", …" * (len(absent) > MAX_CLASSES_LISTED)
            lines.append(f"Without a {split} image: {len(absent)} of {len(counts)} classes ({names}).")
    for name in ("reencoded", "rejected"):
        if stats[name]:
            lines.append(f"{name.capitalize()}: {', '.join(f'{count} {reason}' for reason, count in stats[name].items())}.")
    identical = stats["duplicates"]
    if identical["groups"]:
        lines.append(
            f"Identical: {identical['images']} images in {identical['groups']} groups, {identical['groups_across_splits']} of "
            f"them across splits and {identical['groups_across_labels']} across labels, {stats['skipped']} images skipped: "
            f"see {directory / DUPLICATES_NAME}."
        )
    boxes = stats["boxes"]
    if "unlisted" in boxes:
        lines.append(f"Boxes of images that are not there: {boxes['unlisted']} of {boxes['given']} were left out.")
    if boxes and (boxes["moved"] or boxes["repeated"]):
        lines.append(
            f"Boxes of images that were skipped: {boxes['moved']} are stored with the identical image, {boxes['repeated']} "
            f"equal one that it has."
        )
    return lines
