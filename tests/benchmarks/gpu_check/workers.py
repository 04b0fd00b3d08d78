"""Images per second of all workers of a launcher, each with a GPU: a part of launch/gpu_check.sh, behind horovodrun."""

import argparse
import json
import os
import sys

from shardtune.runtime.world import World
from tests.benchmarks.gpu_check.synthetic import SyntheticTraining

BATCH_SIZE, SMALL_BATCH_SIZE = 64, 2  # of each worker
PRECISION = "mixed_bfloat16"
SMALL_PRECISION = "float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    world = World.from_environment("horovod", os.environ)
    training = SyntheticTraining(world, SMALL_PRECISION if small else PRECISION, "none", small=small)
    result = {"workers": world.size, **training.measure(SMALL_BATCH_SIZE if small else BATCH_SIZE)}
    if world.is_root:
        sys.stdout.write(json.dumps(result) + "\n")
    world.exit(0)


if __name__ == "__main__":
    main()
