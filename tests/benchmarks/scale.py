"""What rank 0 does and holds in a large build, and how long listing takes: `python -m tests.benchmarks.scale`.

usage: python -m tests.benchmarks.scale [--images 14000000] [--ranks 64] [--shards 1024] [--files 1000000]

Planning, and the end of a build, on a synthetic listing: no images and no ranks, but the lists, messages and receipts that they
would send, made one after another. How long rank 0 takes for each stage, and the peak of its memory after it; "one rank" is the
part that each of the ranks does at the same time.

Listing real files, of which --files are made: alone without latency, and by 8 ranks where the status of a file takes 1 ms more,
as over a network.
"""

import argparse
import hashlib
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from shardtune.builder import partition, scanning
from shardtune.builder.builder import _assign_shards, build_options
from shardtune.builder.config import BuildConfig
from shardtune.builder.digests import no_digests
from shardtune.builder.finalize import write_manifest
from shardtune.builder.listing import FileTable
from shardtune.builder.partition import DIGEST_BYTES, ShardPlan
from shardtune.builder.plan import make_plan
from shardtune.builder.receipts import ShardReceipt, hash_names
from shardtune.builder.recipe import class_hashes, make_recipe
from shardtune.images.ignored import Ignored
from shardtune.runtime.root_only import RootOnly
from shardtune.runtime.world import World
from tests.faults.injector import Injector
from tests.launching import ENVIRONMENT, LAUNCHERS

CLASSES, BYTES = 1000, 110_000  # of ImageNet, on average
LISTING_RANKS, STATUS_MS = 8, 1
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=14_000_000)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--shards", type=int, default=1024)
    parser.add_argument("--files", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        hold(arguments.images, arguments.ranks, arguments.shards, Path(temporary))
        measure_listing(arguments.files, Path(temporary))


def hold(images: int, ranks: int, shards: int, folder: Path) -> None:
    """What rank 0 does and holds in a build of a synthetic listing."""
    (folder / "images").mkdir()
    config = BuildConfig(folder / "images", output_directory=folder / "data", train_shards=shards)
    config.output_directory.mkdir()
    print(f"{images:,} images, {ranks} ranks, {shards} shards: seconds, and peak memory of rank 0 in MB")
    parts = [timed("one rank: order and hashes of its files", lambda: part_of(config, images, 0, ranks))]
    parts += [receive(part_of(config, images, rank, ranks)) for rank in range(1, ranks)]
    said("(lists of all ranks received)")
    folders: scanning.ClassFolders = {"train": [None]}
    tables = timed("one list, in the order of shards", lambda: scanning._merge(config, folders, parts, Ignored(), World()))
    names = [f"n{label:08d}" for label in range(CLASSES)]
    directories = {"train": config.train_directory}
    held = RootOnly(tables, is_root=True)
    plan, _ = timed("plan", lambda: make_plan(config, names, directories, held, folder / "none", World()))
    timed("recipe", lambda: make_recipe(plan.get(), build_options(config), set()))

    def send() -> list[ShardReceipt]:
        """Each part is made when it is sent; then each shard's receipt comes."""
        parts = _assign_shards(plan.get(), no_digests(World()), config.output_directory, ranks)
        return [receive(receipt_of(shard)) for part in parts for shard in pickle.loads(pickle.dumps(part, protocol=5))]

    receipts = timed("shards to ranks, receipts back", send)
    by_name = {receipt.name: receipt for receipt in receipts}
    in_order = [by_name[shard.name] for shard in plan.get().shards]
    del receipts, by_name
    timed("manifest and records.bin", lambda: write_manifest(config.output_directory, plan.get(), [], {}, in_order))
    shutil.rmtree(config.output_directory)


def part_of(config: BuildConfig, images: int, rank: int, ranks: int) -> scanning._Part:
    """What a rank finds: every `ranks`-th class."""
    per_class = images // CLASSES
    labels = np.repeat(np.arange(rank, CLASSES, ranks, dtype=np.int32) + 1, per_class)
    text = b"".join(
        b"n%08d/n%08d_%07d.JPEG" % (label, label, number)
        for label in range(rank, CLASSES, ranks)
        for number in range(per_class)
    )
    ends = np.arange(1, len(labels) + 1, dtype=np.int64) * (len(text) // len(labels))
    numbers = np.arange(len(labels), dtype=np.int64)
    table = FileTable(text, ends, labels, BYTES + numbers % 1000, numbers)
    order, hashes = partition.order_digests(table, config.seed), class_hashes(table)
    return scanning._Part({"train": table}, {"train": hashes}, {"train": order}, {}, Counter())


def receipt_of(shard: ShardPlan) -> ShardReceipt:
    """The receipt of a shard, with random digests."""
    count = len(shard.sources)
    random = np.random.default_rng(list(hashlib.blake2b(shard.name.encode()).digest()))
    receipt = ShardReceipt(shard.split, shard.name, BYTES * count, "0" * 64)
    receipt.offsets.extend(range(0, BYTES * count, BYTES))
    receipt.labels.extend(shard.sources.labels.tolist())
    receipt.crcs, receipt.digests = random.bytes(4 * count), random.bytes(DIGEST_BYTES * count)
    receipt.stored = hash_names(map(shard.sources.name, range(count)))
    return receipt


def receive(value: Result) -> Result:
    """The value as it comes from another rank."""
    received: Result = pickle.loads(pickle.dumps(value, protocol=5))
    return received


def timed(what: str, run: Callable[[], Result]) -> Result:
    started = time.monotonic()
    result = run()
    said(what, time.monotonic() - started)
    return result


def said(what: str, seconds: float | None = None) -> None:
    # Not getrusage: it counts what the process that started this one had in memory.
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(f"  {what:42} {'' if seconds is None else f'{seconds:.1f} s':>8} {int(kilobytes) / 1000:8.0f} MB", flush=True)


def measure_listing(files: int, folder: Path) -> None:
    tree = folder / "tree"
    for label in range(CLASSES):
        (tree / f"n{label:08d}").mkdir(parents=True)
        for number in range(files // CLASSES):
            (tree / f"n{label:08d}" / f"n{label:08d}_{number:07d}.JPEG").touch()
    slow = Injector.compile(folder).slow(tree, 1000 * STATUS_MS)
    print(f"{files:,} files, listed and planned by build --dry_run, whole commands:")
    for name, ranks, environment in (("1 rank", 1, {}), (f"{LISTING_RANKS} ranks, {STATUS_MS} ms a file", LISTING_RANKS, slow)):
        launcher = LAUNCHERS["mpirun" if ranks > 1 else "alone"](ranks)
        flags = ["--train_directory", str(tree), "--output_directory", str(folder / "data"), "--dry_run"]
        started = time.monotonic()
        line = [*launcher, sys.executable, "-m", "shardtune", "build", *flags]
        subprocess.run(line, env={**ENVIRONMENT, **environment}, stdout=subprocess.DEVNULL, check=True)
        print(f"  {name:42} {time.monotonic() - started:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
