"""What waiting ranks cost: `mpirun -n 2 python -m tests.benchmarks.idle`, or behind horovodrun.

Horovod's threads leave the cores to those that work where this is a few hundredths of a core.
"""

import os
import sys
import time

from shardtune.runtime.world import World

SECONDS = 5.0


def main() -> None:
    world = World.from_environment("horovod", os.environ)
    world.barrier()
    before = time.process_time()
    time.sleep(SECONDS)
    spent = world.allgather((time.process_time() - before) / SECONDS)
    if world.is_root:
        sys.stdout.write(f"cores that each rank takes while it sleeps: {', '.join(f'{share:.3f}' for share in spent)}\n")
    world.exit(0)


if __name__ == "__main__":
    main()
