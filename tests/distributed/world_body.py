"""Run by test_world.py on one process and on several: what `World` promises, asserted on every rank."""

import os
import sys

import numpy as np

from shardtune.errors import DataError, RootFailedError
from shardtune.world import World


def main(backend: str, size: int) -> None:
    world = World.from_environment(backend, os.environ)  # type: ignore[arg-type]
    assert world.size == size
    assert world.gather(world.rank) == list(range(size))
    assert world.broadcast(f"from {world.rank}") == "from 0"
    assert world.from_root(lambda: world.rank) == 0

    def fail() -> None:
        raise DataError("on purpose")

    try:
        world.from_root(fail)
    except RootFailedError:
        assert not world.is_root
    except DataError:
        assert world.is_root
    else:
        raise AssertionError("from_root swallowed the error")
    world.barrier()

    if backend == "horovod":
        import tensorflow as tf

        given = [tf.fill([3], float(world.rank)), tf.constant(2.0 * world.rank)]
        for call in (world.sum_tensors, tf.function(world.sum_tensors, autograph=False)):
            vector, scalar = call(given)
            assert np.array_equal(vector, np.full(3, size * (size - 1) / 2))
            assert float(scalar) == size * (size - 1)
    sys.stdout.write(f"rank {world.rank} of {world.size} ok\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
