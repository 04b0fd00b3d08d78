"""Start MPI or Horovod, and read how they were built. The only module that imports them."""

import ctypes
import os
from importlib import import_module
from typing import Any, Literal, NamedTuple

from shardtune.runtime.communicators import Communicator, HorovodCommunicator, MpiCommunicator, SingleProcessCommunicator
from shardtune.runtime.launcher import Launcher

Backend = Literal["mpi", "horovod"]


class Connection(NamedTuple):
    """The place of this process among those of the job, as the backend reports it."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    communicator: Communicator


def connect(backend: Backend, launcher: Launcher) -> Connection:
    """Start a backend and wait for the other ranks. One process does without a backend that is not installed.

    Raises:
        WorldError: the backend uses another MPI than the launcher.
        ImportError, OSError, RuntimeError, ValueError: the backend is missing or cannot start.
    """
    try:
        if backend == "mpi":
            launcher.check_mpi(mpi_library_version(), "mpi4py")
            return _connect_mpi()
        if launcher.mpi_version_pattern is not None:
            launcher.check_mpi(horovod_build_info()["mpi"], "Horovod")
        return _connect_horovod()
    except ModuleNotFoundError:
        if launcher.size > 1:
            raise
        return Connection(0, 1, 0, 1, SingleProcessCommunicator())


def mpi_library_version() -> str:
    """Name and version of the MPI that mpi4py loads. Does not start MPI."""
    import mpi4py

    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    from mpi4py import MPI

    return _first_words(MPI.Get_library_version())


def _horovod() -> Any:
    """horovod.tensorflow, imported after our `frameworks`, because it would import Keras with all that this leaves out."""
    import horovod  # noqa: F401  first, so that the error names Horovod where it is missing

    import_module("shardtune.runtime.frameworks")
    return import_module("horovod.tensorflow")


def horovod_build_info() -> dict[str, Any]:
    """What Horovod was built with: mpi (name and version, or None), gloo and nccl (true or false). Does not start Horovod."""
    hvd = _horovod()
    from horovod.tensorflow.mpi_ops import _basics

    built = {"mpi": None, "gloo": bool(hvd.gloo_built()), "nccl": bool(hvd.nccl_built())}
    if not hvd.mpi_built():
        return built
    text, length = ctypes.create_string_buffer(8192), ctypes.c_int()  # MPI_MAX_LIBRARY_VERSION_STRING is at most 8192
    _basics.MPI_LIB_CTYPES.MPI_Get_library_version(text, ctypes.byref(length))
    return {**built, "mpi": _first_words(text.value.decode())}


def _first_words(version: str) -> str:
    return " ".join(version.splitlines()[0].split(",")[0].split())


def _connect_mpi() -> Connection:
    """Initialise MPI and connect to mpi4py's COMM_WORLD."""
    from mpi4py import MPI

    if not MPI.Is_initialized():
        MPI.Init_thread()
    comm = MPI.COMM_WORLD
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    return Connection(comm.Get_rank(), comm.Get_size(), local.Get_rank(), local.Get_size(), MpiCommunicator(comm, MPI.Finalize))


def enable_timeline() -> None:
    """Allow `start_timeline` on Horovod worlds made after this call. It costs a spinning thread on each rank."""
    os.environ["HOROVOD_TIMELINE"] = "DYNAMIC"


def _connect_horovod() -> Connection:
    """Initialise Horovod and connect to its global process set."""
    # Horovod would fuse whatever is ready at the same time into one buffer, and so add in another order every time.
    os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")
    # Over Gloo, Horovod would abort where a rank starts 30 s later than another, or is halted for so long. The guard ends what
    # hangs, after a time that people choose, and names the rank; so this is longer than any of these.
    os.environ.setdefault("HOROVOD_GLOO_TIMEOUT_SECONDS", "86400")
    hvd = _horovod()
    if not hvd.nccl_built():
        # Milliseconds between rounds in which ranks exchange what is ready. Horovod's default of 1 costs a third of a core over
        # Gloo; a step on cores takes hundreds.
        os.environ.setdefault("HOROVOD_CYCLE_TIME", "5")
    hvd.init()
    return Connection(hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), HorovodCommunicator(hvd))
