"""`shardtune build`: the ranks share out the shards, each writes its own, rank 0 writes the manifest last."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features as codecs

from shardtune.build import images, labels, plan
from shardtune.build.example import image_example
from shardtune.config import BuildConfig
from shardtune.dataset.manifest import MANIFEST_NAME, SPLITS, Manifest, Shard, Split, write_offsets
from shardtune.dataset.tfrecord import frame
from shardtune.errors import DataError
from shardtune.files import atomic_write
from shardtune.progress import Ticker, say
from shardtune.world import World

REJECTS_NAME = "rejects.jsonl"
LABELS_NAME = "labels.txt"


@dataclass
class WrittenShard:
    """What a rank reports of one shard."""

    split: Split
    name: str
    bytes: int = 0
    sha256: str = ""
    offsets: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    reencoded: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, str]] = field(default_factory=list)


def build(config: BuildConfig, world: World) -> Manifest:
    """Write all shards of the data set and, when every image is accounted for, its manifest.

    Raises:
        DataError: folders or labels are wrong, the output directory holds a data set, or more than
            `max_rejects` images could not be stored (the shards stay, but no manifest is written).
    """
    names, plans = world.from_root(lambda: _plan(config))
    share = plan.assign([sum(source.bytes for source in p.sources) for p in plans], world.size)[world.rank]
    images_here = sum(len(plans[i].sources) for i in share)
    with Ticker(world, "images", images_here) as ticker:
        written = {i: write_shard(plans[i], config.output_directory, names, ticker) for i in share}
    everything: dict[int, WrittenShard] = {}
    for part in world.gather(written):
        everything |= part
    manifest = world.from_root(lambda: _finish(config, names, [everything[i] for i in range(len(plans))]))
    say(world, f"Finished writing all {manifest.provenance['written']} images in data set.")
    return manifest


def write_shard(shard: plan.ShardPlan, directory: Path, names: list[str], ticker: Ticker) -> WrittenShard:
    """Write one shard whole or not at all. Images that cannot be stored are left out and reported."""
    done = WrittenShard(shard.split, shard.name)
    digest = hashlib.sha256()
    with atomic_write(directory / shard.name) as file:
        for source in shard.sources:
            ticker.advance()
            try:
                image = images.load(shard.root / source.path)
            except images.RejectedError as reject:
                done.rejects.append({"split": shard.split, "path": source.path, "reason": reject.code, "detail": reject.detail})
                continue
            record = frame(image_example(image, source.path, source.label, names[source.label - 1]))
            file.write(record)
            digest.update(record)
            done.offsets.append(done.bytes)
            done.labels.append(source.label)
            done.bytes += len(record)
            if image.reencoded:
                done.reencoded[image.reencoded] += 1
    done.sha256 = digest.hexdigest()
    return done


def _plan(config: BuildConfig) -> tuple[list[str], list[plan.ShardPlan]]:
    """Look at the folders, decide everything, and make the output directory ready. For rank 0."""
    if (config.output_directory / MANIFEST_NAME).exists():
        raise DataError(
            f"A build writes into a directory without a data set, but {config.output_directory} holds a finished one: "
            f"use it, remove it, or give another --output_directory."
        )
    train_root = config.train_directory
    names = labels.read_labels(config.labels_file) if config.labels_file else labels.class_folders(train_root)
    labels.require_same(names, train_root)
    train, validation = plan.shuffled(plan.scan(train_root, names), config.seed), []
    validation_root = config.validation_directory or train_root
    if config.validation_directory:
        labels.require_same(names, validation_root)
        validation = plan.shuffled(plan.scan(validation_root, names), config.seed)
    elif config.validation_fraction:
        train, validation = plan.hold_out(train, config.validation_fraction)
    config.output_directory.mkdir(parents=True, exist_ok=True)
    plans = plan.into_shards(train, "train", train_root, config.train_shards)
    if validation:
        plans += plan.into_shards(validation, "validation", validation_root, config.validation_shards)
    return names, plans


def _finish(config: BuildConfig, names: list[str], written: list[WrittenShard]) -> Manifest:
    """Check the account, then write rejects, labels, offsets and, last, the manifest. For rank 0."""
    directory = config.output_directory
    rejects = [reject for shard in written for reject in shard.rejects]
    stored = sum(len(shard.offsets) for shard in written)
    with atomic_write(directory / REJECTS_NAME) as file:
        file.writelines(json.dumps(reject, ensure_ascii=False).encode() + b"\n" for reject in rejects)
    if len(rejects) > config.max_rejects:
        first = rejects[0]
        raise DataError(
            f"At most {config.max_rejects} images may be unusable, but {len(rejects)} of {stored + len(rejects)} are (first "
            f"{first['path']}: {first['reason']}, {first['detail']}): see {directory / REJECTS_NAME}, mend or remove them, "
            f"or give --max_rejects {len(rejects)}."
        )
    with atomic_write(directory / LABELS_NAME) as file:
        file.write("".join(f"{name}\n" for name in names).encode())
    offsets = [offset for shard in written for offset in shard.offsets]
    manifest = Manifest(
        labels=names,
        splits={split: [_entry(s) for s in written if s.split == split] for split in SPLITS},
        class_counts={split: _class_counts((s for s in written if s.split == split), len(names)) for split in SPLITS},
        offsets_sha256=write_offsets(directory, np.array(offsets, np.uint64)),
        provenance=_provenance(config, written, stored),
    )
    manifest.save(directory)
    return manifest


def _entry(shard: WrittenShard) -> Shard:
    return Shard(shard.name, len(shard.offsets), shard.bytes, shard.sha256)


def _class_counts(shards: Iterable[WrittenShard], classes: int) -> list[int]:
    counts = Counter(label for shard in shards for label in shard.labels)
    return [counts[label] for label in range(1, classes + 1)]


def _provenance(config: BuildConfig, written: list[WrittenShard], stored: int) -> dict[str, Any]:
    """How the data set came about: options that shape its bytes, codecs, and what became of every image.

    Nothing here depends on the ranks, the clock, or where the folders lie.
    """
    reencoded = sum((shard.reencoded for shard in written), Counter[str]())
    reasons = Counter(reject["reason"] for shard in written for reject in shard.rejects)
    return {
        "seed": config.seed,
        "validation_fraction": config.validation_fraction,
        "jpeg_quality": images.JPEG_QUALITY,
        "codecs": {"pillow": codecs.version("pil"), "libjpeg": codecs.version("libjpeg_turbo") or codecs.version("jpg")},
        "scanned": stored + sum(reasons.values()),
        "written": stored,
        "reencoded": dict(sorted(reencoded.items())),
        "rejected": dict(sorted(reasons.items())),
    }
