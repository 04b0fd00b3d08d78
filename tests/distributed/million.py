"""Run by test_million.py: a build, after which each rank prints its peak memory.

usage: python million.py IMAGES OUTPUT [hashed]

hashed: some images are held out, and identical ones are looked for.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.runtime.world import World


def main() -> None:
    images, output, *hashed = sys.argv[1:]
    world = World.from_environment("mpi", os.environ)
    options: dict[str, Any] = {"validation_examples": 50_000, "duplicates": "skip"} if hashed else {}
    manifest = build(BuildConfig(Path(images), output_directory=Path(output), train_shards=1024, **options), world)
    # Not getrusage: it counts what the process that started this one had in memory.
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(f"rank {world.rank}: {manifest.provenance['written']} images, {int(kilobytes) / 1000:.0f} MB\n")


if __name__ == "__main__":
    main()
