"""Cores and GPUs for this rank; to be called before TensorFlow does anything."""

import os

from shardtune.errors import WorldError
from shardtune.world import World


def claim(world: World) -> int:
    """Give TensorFlow this rank's share of the host's cores and its GPU, if there are any; returns the cores.

    A launcher that binds ranks to cores has divided them already; otherwise the ranks of a host share alike.

    Raises:
        WorldError: the host has GPUs, but fewer than ranks.
    """
    import tensorflow as tf

    available = len(os.sched_getaffinity(0))
    bound = available < (os.cpu_count() or 1)
    cores = available if bound else max(1, available // world.local_size)
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
    return cores
