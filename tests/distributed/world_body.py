"""Run by test_world.py on one process and on several: what `World` promises, asserted on every rank."""

import os
import sys
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from shardtune.errors import RootFailedError, UsageError, exit_status_of
from shardtune.runtime.world import World

LARGE, MESSAGES = 1_000_000, 5


def main(backend: str, size: int) -> None:
    world = World.from_environment(backend, os.environ)  # type: ignore[arg-type]
    assert world.size == size
    assert world.allgather(world.rank) == list(range(size))
    assert world.broadcast(f"from {world.rank}") == "from 0"
    assert world.broadcast_from_root(lambda: world.rank) == 0
    root_rank = world.run_on_root(lambda: world.rank)
    if world.is_root:
        assert root_rank.get() == 0
    else:
        with pytest.raises(RuntimeError, match="rank 0 only"):
            root_rank.get()

    failures(world)
    world.barrier()

    if backend == "mpi":
        messages(world)
    if backend == "horovod":
        import tensorflow as tf

        given = [tf.fill([3], float(world.rank)), tf.constant(2.0 * world.rank)]
        for call in (world.allreduce_sum, tf.function(world.allreduce_sum, autograph=False)):
            vector, scalar = call(given, "given")
            assert np.array_equal(vector, np.full(3, size * (size - 1) / 2))
            assert float(scalar) == size * (size - 1)
        factor = tf.Variable(world.rank + 1.0)
        with tf.GradientTape() as tape:
            total = world.allreduce_sum([factor * factor], "squares")[0]
            loss = total * (world.rank + 1)
        assert float(total) == sum((rank + 1) ** 2 for rank in range(size))
        # Each rank's loss depends on what this one brought, so all of them send their part back.
        assert float(tape.gradient(loss, factor)) == sum(rank + 1 for rank in range(size)) * 2 * (world.rank + 1)
    sys.stdout.write(f"rank {world.rank} of {world.size} ok\n")


def failures(world: World) -> None:
    """What rank 0 raises for all, also where its class cannot be pickled."""

    class OddError(Exception):
        pass

    def fail(error: Exception) -> None:
        raise error

    for call in (world.run_on_root, world.broadcast_from_root):
        for error, relayed in (UsageError("a fact", "advice"), "a fact advice"), (OddError("x"), "Rank 0 failed: OddError: x"):
            with pytest.raises(type(error) if world.is_root else RootFailedError) as caught:
                call(partial(fail, error))
            if isinstance(caught.value, RootFailedError):
                assert str(caught.value.error) == relayed
                assert caught.value.exit_status == exit_status_of(error)  # so it matters to no launcher who leaves first


def messages(world: World) -> None:
    """What one rank tells another, among collectives and larger than any buffer for what nobody waits for."""
    made = []

    def parts() -> Iterator[bytes]:
        for rank in range(world.size):
            made.append(rank)
            yield bytes([rank]) * LARGE

    assert world.scatter(parts() if world.is_root else ()) == bytes([world.rank]) * LARGE
    assert made == (list(range(world.size)) if world.is_root else [])
    for number in range(MESSAGES):
        world.send_to_root((world.rank, number, bytes(LARGE if number == 1 else 1)))
    assert world.broadcast(world.rank) == 0  # no message gets in its way
    received: list[tuple[int, int, bytes]] = []
    while world.is_root and len(received) < MESSAGES * world.size:
        received += world.receive_pending()
    for rank in range(world.size if world.is_root else 0):
        assert [number for source, number, _ in received if source == rank] == list(range(MESSAGES))
    world.barrier()
    gathered = world.gather(lambda: bytes([world.rank]) * LARGE)
    assert not world.is_root or gathered.get() == [bytes([rank]) * LARGE for rank in range(world.size)]
    # What has arrived is no longer in memory here.
    assert world.is_root or not world._communicator._pending_sends  # type: ignore[attr-defined]
    world.barrier()
    assert not world.is_root or world.receive_pending() == []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
