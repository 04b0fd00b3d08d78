"""MPI and Horovod: what they were built with, and how their processes find each other. The one module that imports them."""

import ctypes
import os
from importlib import import_module
from typing import Any, Literal, NamedTuple

from shardtune.runtime.communicators import Communicator, HorovodCommunicator, MpiCommunicator
from shardtune.runtime.launcher import Launcher

Backend = Literal["mpi", "horovod"]


class Connection(NamedTuple):
    """What a backend says of the processes of a job."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    communicator: Communicator


def connect(backend: Backend, launcher: Launcher) -> Connection:
    """Start a backend, which waits for the other ranks.

    Raises:
        WorldError: its MPI is not the launcher's.
        ImportError, OSError, RuntimeError, ValueError: it is missing or cannot start.
    """
    if backend == "mpi":
        launcher.check_mpi(mpi_library_version(), "mpi4py")
        return _connect_mpi()
    if launcher.mpi_version_pattern is not None:
        launcher.check_mpi(horovod_build_info()["mpi"], "Horovod")
    return _connect_horovod()


def mpi_library_version() -> str:
    """Name and version of the MPI that mpi4py loads. Does not start it."""
    import mpi4py

    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    from mpi4py import MPI

    return _first_words(MPI.Get_library_version())


def _horovod() -> Any:
    """horovod.tensorflow, which would import Keras by itself."""
    import horovod  # noqa: F401  where it is missing, that is what is said

    import_module("shardtune.runtime.frameworks")
    return import_module("horovod.tensorflow")


def horovod_build_info() -> dict[str, Any]:
    """What Horovod was built with: mpi (name and version, or None), gloo and nccl (or not). Does not start it."""
    hvd = _horovod()
    from horovod.tensorflow.mpi_ops import _basics

    built = {"mpi": None, "gloo": bool(hvd.gloo_built()), "nccl": bool(hvd.nccl_built())}
    if not hvd.mpi_built():
        return built
    text, length = ctypes.create_string_buffer(8192), ctypes.c_int()  # the longest of any MPI's
    _basics.MPI_LIB_CTYPES.MPI_Get_library_version(text, ctypes.byref(length))
    return {**built, "mpi": _first_words(text.value.decode())}


def _first_words(version: str) -> str:
    return " ".join(version.splitlines()[0].split(",")[0].split())


def _connect_mpi() -> Connection:
    """mpi4py's COMM_WORLD. Initialises MPI."""
    from mpi4py import MPI

    if not MPI.Is_initialized():
        MPI.Init_thread()
    comm = MPI.COMM_WORLD
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    return Connection(comm.Get_rank(), comm.Get_size(), local.Get_rank(), local.Get_size(), MpiCommunicator(comm, MPI.Finalize))


def enable_timeline() -> None:
    """Let `start_timeline` be called on worlds over Horovod that are made from now on. A thread of each rank then spins for it."""
    os.environ["HOROVOD_TIMELINE"] = "DYNAMIC"


def _connect_horovod() -> Connection:
    """Horovod's global process set. Initialises Horovod."""
    # Whatever happens to be ready at the same time would be added up in one buffer, and so in another order every time.
    os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")
    hvd = _horovod()
    if not hvd.nccl_built():
        # Milliseconds between looks at what is ready. Horovod's own 1 costs a third of a core over Gloo, where all ranks
        # then tell each other; a step on cores takes hundreds.
        os.environ.setdefault("HOROVOD_CYCLE_TIME", "5")
    hvd.init()
    return Connection(hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), HorovodCommunicator(hvd))
