"""What TensorFlow, Horovod and mpi4py report when they are imported, as JSON values."""

from importlib.metadata import version
from typing import Any

from shardtune.runtime.backends import horovod_build_info, mpi_library_version


def tensorflow_facts() -> dict[str, Any]:
    from shardtune.runtime.frameworks import tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return {"tensorflow": tf.__version__, "cuda": tf.test.is_built_with_cuda(), "gpus": gpus}


def horovod_facts() -> dict[str, Any]:
    """Those of TensorFlow too, which Horovod imports."""
    return {"horovod": version("horovod"), **horovod_build_info(), **tensorflow_facts()}


def mpi4py_facts() -> dict[str, Any]:
    return {"mpi4py": version("mpi4py"), "library": mpi_library_version()}
