"""What processes talk over: nothing at all, MPI, or Horovod. `World` gives each rank one of these and asks no more of it."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, Protocol

from shardtune.errors import WorldError

POSTED = 1  # the tag of posted messages, which come between those of collectives
MPI_ONLY = "Messages between single ranks go over MPI, not over Horovod: start this command with mpirun."


class Communicator(Protocol):
    """The few calls that a backend must offer; everything else in `World` is made of them."""

    def broadcast(self, value: Any) -> Any: ...
    def gather(self, value: Any) -> list[Any]: ...
    def scatter(self, parts: Iterable[Any]) -> Any: ...
    def post(self, value: Any) -> None: ...
    def collect(self) -> list[Any]: ...
    def sum_tensors(self, tensors: list[Any], name: str) -> list[Any]: ...
    def trace(self, path: Path) -> None: ...
    def finish(self) -> None: ...
    def abort(self, status: int) -> NoReturn: ...


class Alone:
    """One process: every collective is the identity."""

    def __init__(self) -> None:
        self._posted: list[Any] = []

    def broadcast(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def scatter(self, parts: Iterable[Any]) -> Any:
        return next(iter(parts))

    def post(self, value: Any) -> None:
        self._posted.append(value)

    def collect(self) -> list[Any]:
        posted, self._posted = self._posted, []
        return posted

    def sum_tensors(self, tensors: list[Any], name: str) -> list[Any]:
        return tensors

    def trace(self, path: Path) -> None:
        pass

    def finish(self) -> None:
        pass

    def abort(self, status: int) -> NoReturn:
        os._exit(status)  # see World.leave


class OverMpi:
    """mpi4py's COMM_WORLD, until `finalize` is called."""

    def __init__(self, comm: Any, finalize: Callable[[], None]) -> None:
        self._comm, self.finish = comm, finalize
        self._sending: list[Any] = []

    def broadcast(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def gather(self, value: Any) -> list[Any]:
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

    def post(self, value: Any) -> None:
        # A request that is dropped before it completes may be dropped with its message.
        self._sending = [request for request in self._sending if not request.Test()]
        self._sending.append(self._comm.isend(value, 0, tag=POSTED))

    def collect(self) -> list[Any]:
        posted = []
        while self._comm.iprobe(tag=POSTED):
            posted.append(self._comm.recv(tag=POSTED))
        return posted

    def sum_tensors(self, tensors: list[Any], name: str) -> list[Any]:
        raise WorldError("Tensors are reduced by Horovod, not by MPI: start this command with horovodrun.")

    def trace(self, path: Path) -> None:
        raise WorldError("Only Horovod writes a timeline: start this command with horovodrun.")

    def abort(self, status: int) -> NoReturn:
        self._comm.Abort(status)
        os._exit(status)  # Abort does not return; this is for the type checker


class OverHorovod:
    """horovod.tensorflow's tensor-level calls: the ones that work with Keras 3.

    Ranks meet in what has the same name. Horovod's own names come from the graph around a call, so that ranks which traced
    other functions before would wait for each other for ever: all names are given here.
    """

    def __init__(self, hvd: Any) -> None:
        self._hvd = hvd

    def broadcast(self, value: Any) -> Any:
        return self._hvd.broadcast_object(value, root_rank=0, name="broadcast")

    def gather(self, value: Any) -> list[Any]:
        return list(self._hvd.allgather_object(value, name="gather"))

    def scatter(self, parts: Iterable[Any]) -> Any:
        raise WorldError(MPI_ONLY)

    def post(self, value: Any) -> None:
        raise WorldError(MPI_ONLY)

    def collect(self) -> list[Any]:
        raise WorldError(MPI_ONLY)

    def sum_tensors(self, tensors: list[Any], name: str) -> list[Any]:
        # ignore_name_scope: a function that is inlined gets the name of its call in front of its own.
        return list(self._hvd.grouped_allreduce(tensors, op=self._hvd.Sum, name=name, ignore_name_scope=True))

    def trace(self, path: Path) -> None:
        self._hvd.start_timeline(str(path))

    def finish(self) -> None:
        self._hvd.shutdown()

    def abort(self, status: int) -> NoReturn:
        # Not sys.exit: Horovod's exit handler would wait for ranks that are blocked in a collective.
        # The launcher sees the status and ends the others.
        os._exit(status)
