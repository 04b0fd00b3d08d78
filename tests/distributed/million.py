"""Run by test_million.py: a million images are listed, planned and dealt out. Each rank prints its peak memory and time.

usage: python million.py [CACHE]

With a CACHE for digests, some images are held out, and identical ones are looked for.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shardtune.build import duplicates, listing, resume
from shardtune.build.builder import options
from shardtune.build.plan import assign
from shardtune.build.planning import find_images, make_plan
from shardtune.config import BuildConfig
from shardtune.world import World

LABELS = [f"class-{label:03d}" for label in range(1000)]


def files(folder: Path, prefix: str, above: object) -> Iterator[tuple[str, Any]]:
    """In place of a walk through folders: 1000 files of one class."""
    for number in range(1000):
        size = 10_000 + int(folder.name[-3:]) * 7919 * (number + 1) % 200_000
        yield f"{prefix}/a_name_of_usual_length-{number:08d}.jpg", SimpleNamespace(st_size=size, st_mtime_ns=number)


def main() -> None:
    world = World.from_environment("mpi", os.environ)
    started = time.process_time()  # of this process, whatever else the machine does
    hashed: dict[str, Any] = {"validation_examples": 50_000, "duplicates": "skip"} if sys.argv[1:] else {}
    config = BuildConfig(Path("images"), Path("data"), train_shards=1024, **hashed)
    found = world.at_root(lambda: find_images(config, LABELS))
    planned = make_plan(config, LABELS, found, Path(*sys.argv[1:]), world)
    world.at_root(lambda: resume.recipe(planned, options(config)))

    def parts() -> Iterator[list[Any]]:
        for numbers in assign([planned.bytes_of(number) for number in range(1024)], world.size):  # those of training
            yield [planned.shard(number) for number in numbers]

    mine = world.scatter(parts() if world.is_root else ())
    images = sum(world.gather(sum(len(shard.sources) for shard in mine))) + config.validation_examples
    seconds = time.process_time() - started
    # Not getrusage: it counts what the process that started this one had in memory.
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(f"rank {world.rank}: {images} images, {int(kilobytes) / 1000:.0f} MB, {seconds:.1f} s")


if __name__ == "__main__":
    listing._files = files
    duplicates._digest_or_none = lambda path: duplicates.digest(os.fsencode(path))
    main()
