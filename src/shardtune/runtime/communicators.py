"""What processes talk over: nothing at all, MPI, or Horovod. `World` gives each rank one of these and asks no more of it."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, Protocol

from shardtune.errors import WorldError

MESSAGE_TAG = 1  # the tag of posted messages, which come between those of collectives
MPI_ONLY = "Messages between single ranks go over MPI, not over Horovod: start this command with mpirun."


class Communicator(Protocol):
    """The few calls that a backend must offer; everything else in `World` is made of them."""

    def broadcast(self, value: Any) -> Any: ...
    def allgather(self, value: Any) -> list[Any]: ...
    def scatter(self, parts: Iterable[Any]) -> Any: ...
    def send_to_root(self, value: Any) -> None: ...
    def receive_pending(self) -> list[Any]: ...
    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]: ...
    def start_timeline(self, path: Path) -> None: ...
    def shutdown(self) -> None: ...
    def abort(self, status: int) -> NoReturn: ...


class SingleProcessCommunicator:
    """One process: every collective is the identity."""

    def __init__(self) -> None:
        self._posted: list[Any] = []

    def broadcast(self, value: Any) -> Any:
        return value

    def allgather(self, value: Any) -> list[Any]:
        return [value]

    def scatter(self, parts: Iterable[Any]) -> Any:
        return next(iter(parts))

    def send_to_root(self, value: Any) -> None:
        self._posted.append(value)

    def receive_pending(self) -> list[Any]:
        posted, self._posted = self._posted, []
        return posted

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        return tensors

    def start_timeline(self, path: Path) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def abort(self, status: int) -> NoReturn:
        os._exit(status)  # see World.exit


class MpiCommunicator:
    """mpi4py's COMM_WORLD, until `finalize` is called."""

    def __init__(self, comm: Any, finalize: Callable[[], None]) -> None:
        self._comm, self.shutdown = comm, finalize
        self._pending_sends: list[Any] = []

    def broadcast(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def allgather(self, value: Any) -> list[Any]:
        return list(self._comm.allgather(value))

    def scatter(self, parts: Iterable[Any]) -> Any:
        if self._comm.rank:
            return self._comm.recv(source=0)
        # One after another, so that rank 0 never holds all of them.
        mine = None
        for rank, part in enumerate(parts):
            if rank:
                self._comm.send(part, rank)
            else:
                mine = part
        return mine

    def send_to_root(self, value: Any) -> None:
        # A request that is dropped before it completes may be dropped with its message.
        self._pending_sends = [request for request in self._pending_sends if not request.Test()]
        self._pending_sends.append(self._comm.isend(value, 0, tag=MESSAGE_TAG))

    def receive_pending(self) -> list[Any]:
        posted = []
        while self._comm.iprobe(tag=MESSAGE_TAG):
            posted.append(self._comm.recv(tag=MESSAGE_TAG))
        return posted

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        raise WorldError("Tensors are reduced by Horovod, not by MPI: start this command with horovodrun.")

    def start_timeline(self, path: Path) -> None:
        raise WorldError("Only Horovod writes a timeline: start this command with horovodrun.")

    def abort(self, status: int) -> NoReturn:
        self._comm.Abort(status)
        os._exit(status)  # Abort does not return; this is for the type checker


class HorovodCommunicator:
    """horovod.tensorflow's tensor-level calls: the ones that work with Keras 3.

    Ranks meet in what has the same name. Horovod's own names come from the graph around a call, so that ranks which traced
    other functions before would wait for each other for ever: all names are given here.
    """

    def __init__(self, hvd: Any) -> None:
        self._hvd = hvd

    def broadcast(self, value: Any) -> Any:
        return self._hvd.broadcast_object(value, root_rank=0, name="broadcast")

    def allgather(self, value: Any) -> list[Any]:
        return list(self._hvd.allgather_object(value, name="gather"))

    def scatter(self, parts: Iterable[Any]) -> Any:
        raise WorldError(MPI_ONLY)

    def send_to_root(self, value: Any) -> None:
        raise WorldError(MPI_ONLY)

    def receive_pending(self) -> list[Any]:
        raise WorldError(MPI_ONLY)

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        # ignore_name_scope: a function that is inlined gets the name of its call in front of its own.
        return list(self._hvd.grouped_allreduce(tensors, op=self._hvd.Sum, name=name, ignore_name_scope=True))

    def start_timeline(self, path: Path) -> None:
        self._hvd.start_timeline(str(path))

    def shutdown(self) -> None:
        self._hvd.shutdown()

    def abort(self, status: int) -> NoReturn:
        # Not sys.exit: Horovod's exit handler would wait for ranks that are blocked in a collective.
        # The launcher sees the status and ends the others.
        os._exit(status)
