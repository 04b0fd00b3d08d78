"""The cores and the GPU of this rank. To be configured before TensorFlow runs any operation."""

import os
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from shardtune.errors import RootFailedError, WorldError
from shardtune.runtime.cuda_driver import find_gpu_uuid
from shardtune.runtime.world import World

DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU, where NVIDIA's driver runs


def configure_devices(world: World, *, tf32: bool = False) -> int:
    """Give TensorFlow its threads and, where the host has GPUs, the one of this rank. For all ranks to call.

    Args:
        tf32: let the GPU round what it multiplies to TensorFloat-32.

    Returns:
        the number of cores of this rank, for its input pipeline.

    Raises:
        WorldError: on all ranks, where a host has several GPUs, but fewer than ranks, or GPUs that TensorFlow cannot use, or
            where ranks use the same GPU.
    """
    from shardtune.runtime.frameworks import tf

    # GPUs from Ampere on would multiply float32 with 10 bits of mantissa.
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    affinity = os.sched_getaffinity(0)
    # An estimate, because asking the other ranks starts TensorFlow, and the number of its threads is then fixed.
    cores = min(len(affinity), max(1, (os.cpu_count() or 1) // world.local_size))
    host, own_error = socket.gethostname(), None
    try:
        with suppress(RuntimeError):  # TensorFlow has started: its threads, and what it has of the GPU, are the caller's
            tf.config.threading.set_intra_op_parallelism_threads(cores)
            tf.config.threading.set_inter_op_parallelism_threads(max(2, cores))
        with suppress(RuntimeError):
            _choose_gpu(world)
    except WorldError as error:
        own_error = error
    ranks = world.allgather((host, affinity, own_gpu_uuid(), own_error))
    errors = [error for *_, error in ranks if error]
    errors += find_shared_gpus([(name, gpu) for name, _, gpu, _ in ranks])
    if errors:
        raise errors[0] if world.is_root else RootFailedError(errors[0])
    return cores_per_rank([cores for name, cores, *_ in ranks if name == host], affinity)


def _choose_gpu(world: World) -> None:
    """Let TensorFlow see the GPU of this rank alone; raises WorldError where it has none of its own, or cannot use it."""
    from shardtune.runtime.frameworks import tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        check_no_gpu_is_unused(os.environ)
    if len(gpus) > 1:  # a single one may be what the launcher left visible to this rank alone
        if len(gpus) < world.local_size:
            raise WorldError(
                f"{world.local_size} ranks share the host {socket.gethostname()} with {len(gpus)} GPUs, but each rank needs "
                f"one of its own.",
                f"Start {len(gpus)} ranks per host, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the cores.",
            )
        gpus = gpus[world.local_rank : world.local_rank + 1]
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)


def own_gpu_uuid() -> str | None:
    """The UUID of the GPU of this rank; None without one, or if it is unknown."""
    from shardtune.runtime.frameworks import tf

    gpus = tf.config.get_visible_devices("GPU")
    return find_gpu_uuid(int(gpus[0].name.rpartition(":")[2])) if gpus else None  # /physical_device:GPU:0


def find_shared_gpus(ranks: Sequence[tuple[str, str | None]]) -> list[WorldError]:
    """For each GPU that several ranks use, an error that names them.

    Args:
        ranks: of each rank, its host and the UUID of its GPU, or None.
    """
    users = defaultdict(list)
    for rank, user in enumerate(ranks):
        users[user].append(rank)
    return [
        WorldError(
            f"Ranks {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} of {len(ranks)} share the GPU {gpu} of {host}, but "
            f"each rank needs one of its own.",
            "Start one rank per GPU, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the cores.",
        )
        for (host, gpu), numbers in users.items()
        if gpu and len(numbers) > 1
    ]


def count_visible_gpus(lines: Sequence[str], visible: str | None) -> int:
    """The number of GPUs of this host that a program sees.

    Where GPUs are divided (MIG), CUDA shows a program one part of one of them (MIG User Guide, CUDA Device Enumeration).

    Args:
        lines: of `nvidia-smi -L`: one for each GPU, followed by one for each of its parts.
        visible: CUDA_VISIBLE_DEVICES, of which CUDA reads what comes before the first invalid entry; None if it is not set.
    """
    total = 1 if any(line.lstrip().startswith("MIG ") for line in lines) else len(lines)
    if visible is None:
        return total
    entries = takewhile(lambda entry: entry.strip() not in ("", "-1"), visible.split(","))
    return min(total, len(list(entries)))


def check_no_gpu_is_unused(environ: Mapping[str, str]) -> None:
    """Where TensorFlow finds no GPU: check that there is none, or that it is hidden on purpose.

    Raises:
        WorldError: NVIDIA's driver has GPUs; the message says why TensorFlow cannot use them.
    """
    is_hidden = environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not is_hidden and DRIVER_GPUS.is_dir() and any(DRIVER_GPUS.iterdir()):
        raise WorldError(
            f"The host {socket.gethostname()} has GPUs, but TensorFlow finds none: {_why_no_gpu()}",
            "Run KIND=gpu launch/setup.sh, or set CUDA_VISIBLE_DEVICES= to train on the cores.",
        )


def _why_no_gpu() -> str:
    """TensorFlow's own words, which it writes only while it starts and below the log level that is set here."""
    code = "import tensorflow as tf; tf.config.list_physical_devices('GPU'); print(tf.test.is_built_with_cuda())"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.stdout.strip() == "False":
        return "it was built without CUDA."
    words = [line.split("] ", 1)[-1] for line in done.stderr.splitlines() if "cuda" in line.lower() or "gpu" in line.lower()]
    return " ".join(words) or "it does not say why."


def uses_gpu() -> bool:
    """Whether this rank computes on a GPU."""
    from shardtune.runtime.frameworks import tf

    return bool(tf.config.get_visible_devices("GPU"))


def device() -> str:
    """TensorFlow's name of what this rank computes on."""
    return "/GPU:0" if uses_gpu() else "/CPU:0"


def describe_device(threads: int) -> str:
    """What this rank computes on, as text for people.

    Args:
        threads: the number of cores of this rank.
    """
    from shardtune.runtime.frameworks import tf

    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return f"{threads} core(s)"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name))


def count_idle_gpus(world: World) -> int:
    """The number of GPUs on this host that TensorFlow sees and no rank uses."""
    from shardtune.runtime.frameworks import tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return gpus - world.local_size if gpus > 1 else 0


def enable_determinism() -> None:
    """Make every run give the same bits. To be called before anything is traced."""
    from shardtune.runtime.frameworks import tf

    tf.config.experimental.enable_op_determinism()
    # It replaces sums of pairs by one AddN. Of three or more addends, AddN begins with one whose buffer it can overwrite.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


@contextmanager
def settings_kept() -> Iterator[None]:
    """After the block, TensorFlow rounds factors and rewrites graphs as before. Determinism stays, which it cannot give up."""
    from shardtune.runtime.frameworks import tf

    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    options = {"arithmetic_optimization": True, **tf.config.optimizer.get_experimental_options()}
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        tf.config.optimizer.set_experimental_options(options)


def disable_graph_rewriting() -> None:
    """Switch off TensorFlow's rewriting of graphs where there is no GPU: it takes up to a third of the first training step and
    makes the others faster by 1 to 4 % at 75 pixels, and not at 299."""
    from shardtune.runtime.frameworks import tf

    if not uses_gpu():
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def cores_per_rank(affinities: Sequence[Collection[int]], own: Collection[int]) -> int:
    """The number of cores that a rank uses: those it may run on, divided by the number of ranks that may run on one of them.

    Args:
        affinities: the cores of each rank of the host, this one included. Launchers often bind ranks to different cores.
        own: the cores of this rank.
    """
    return max(1, len(own) // sum(not set(own).isdisjoint(affinity) for affinity in affinities))
