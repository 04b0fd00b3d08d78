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
        for call in (world.mean_tensors, tf.function(world.mean_tensors, autograph=False)):
            vector, scalar = call(given)
            assert np.array_equal(vector, np.full(3, (size - 1) / 2))
            assert float(scalar) == size - 1
        factor = tf.Variable(world.rank + 1.0)
        with tf.GradientTape() as tape:
            total = world.sum_tensors([factor * factor])[0]
            loss = total * (world.rank + 1)
        assert float(total) == sum((rank + 1) ** 2 for rank in range(size))
        # Each rank's loss depends on what this one brought, so all of them send their part back.
        assert float(tape.gradient(loss, factor)) == sum(rank + 1 for rank in range(size)) * 2 * (world.rank + 1)
    sys.stdout.write(f"rank {world.rank} of {world.size} ok\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
