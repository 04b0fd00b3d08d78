"""Cores and GPUs for this rank; to be called before TensorFlow does anything."""

import os
import socket
from collections.abc import Collection, Sequence

from shardtune.errors import WorldError
from shardtune.runtime.world import World


def configure_devices(world: World, *, tf32: bool = False) -> int:
    """Give TensorFlow this rank's GPU, if there are any, and threads; returns the rank's share of cores, for the input.

    Args:
        tf32: let the GPU round what it multiplies to TensorFloat-32.

    Raises:
        WorldError: the host has GPUs, but fewer than ranks.
    """
    from shardtune.runtime.frameworks import tf

    # GPUs from Ampere on would multiply float32 with 10 bits of mantissa.
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    mine = os.sched_getaffinity(0)
    # An estimate: Horovod's ranks talk by TensorFlow, which can no longer be given threads then.
    cores = min(len(mine), max(1, (os.cpu_count() or 1) // world.local_size))
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, cores))
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:  # a single one may be what the launcher left visible to this rank alone
        if len(gpus) < world.local_size:
            raise WorldError(
                f"Each rank of a host has a GPU of its own, but {world.local_size} ranks found {len(gpus)}: start "
                f"{len(gpus)} per host, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the cores."
            )
        gpus = gpus[world.local_rank : world.local_rank + 1]
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    host = socket.gethostname()
    return cores_per_rank([affinity for name, affinity in world.allgather((host, mine)) if name == host], mine)


def enable_determinism() -> None:
    """The same bits from every run, however its operations are scheduled; before anything is traced."""
    from shardtune.runtime.frameworks import tf

    tf.config.experimental.enable_op_determinism()
    # It makes one AddN of sums of pairs, and AddN begins with whichever of three and more is ready to be overwritten.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def disable_graph_rewriting() -> None:
    """On cores, leave out TensorFlow's rewriting of graphs: it takes up to a third of the first step of training, and makes no
    other faster."""
    from shardtune.runtime.frameworks import tf

    if not tf.config.get_visible_devices("GPU"):
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def cores_per_rank(affinities: Sequence[Collection[int]], mine: Collection[int]) -> int:
    """How many of the cores that it may run on a rank takes: it shares them with every rank that may run on one of them.

    Args:
        affinities: the cores of each rank of the host, this one included. Launchers often bind ranks to cores of their own.
        mine: this rank's.
    """
    return max(1, len(mine) // sum(not set(mine).isdisjoint(affinity) for affinity in affinities))
