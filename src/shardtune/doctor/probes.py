"""What TensorFlow, Horovod and mpi4py say of themselves when they are imported, as JSON values."""

from importlib.metadata import version
from typing import Any

from shardtune.runtime.backends import horovod_build_info, mpi_library_version


def of_tensorflow() -> dict[str, Any]:
    from shardtune.runtime.frameworks import tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return {"tensorflow": tf.__version__, "cuda": tf.test.is_built_with_cuda(), "gpus": gpus}


def of_horovod() -> dict[str, Any]:
    """Of TensorFlow too, which Horovod imports."""
    return {"horovod": version("horovod"), **horovod_build_info(), **of_tensorflow()}


def of_mpi4py() -> dict[str, Any]:
    return {"mpi4py": version("mpi4py"), "library": mpi_library_version()}
