"""The calls that `World` is made of, for one process, over MPI and over Horovod."""

import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, Protocol

from shardtune.errors import CollectiveError, WorldError

MESSAGE_TAG = 1  # of messages to rank 0, which may come between those of collectives
MPI_ONLY = ("Horovod has no messages between two ranks.", "Start this command with mpirun.")
CORES = "CPU:0"  # as TensorFlow names them
GRAPH_PREFIX = "collective."  # of the names of Horovod's operations in graphs
HOROVOD_OPERATION = re.compile(rf"\[Op:Horovod|\[\[{{{{node (\S*/)?{re.escape(GRAPH_PREFIX)}")  # in TensorFlow's messages


class Communicator(Protocol):
    """The calls that a backend offers. `World` documents them."""

    def broadcast(self, value: Any) -> Any: ...
    def allgather(self, value: Any) -> list[Any]: ...
    def scatter(self, parts: Iterable[Any]) -> Any: ...
    def send_to_root(self, value: Any) -> None: ...
    def receive_pending(self) -> list[Any]: ...
    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]: ...
    def translate_failures(self) -> AbstractContextManager[None]: ...
    def start_timeline(self, path: Path) -> None: ...
    def shutdown(self) -> None: ...
    def abort(self, status: int) -> NoReturn: ...


class SingleProcessCommunicator:
    """One process: every collective is the identity."""

    def __init__(self) -> None:
        self._messages: list[Any] = []

    def broadcast(self, value: Any) -> Any:
        return value

    def allgather(self, value: Any) -> list[Any]:
        return [value]

    def scatter(self, parts: Iterable[Any]) -> Any:
        return next(iter(parts))

    def send_to_root(self, value: Any) -> None:
        self._messages.append(value)

    def receive_pending(self) -> list[Any]:
        messages, self._messages = self._messages, []
        return messages

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        return tensors

    def translate_failures(self) -> AbstractContextManager[None]:
        return nullcontext()

    def start_timeline(self, path: Path) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def abort(self, status: int) -> NoReturn:
        os._exit(status)  # see World.exit


class MpiCommunicator:
    """mpi4py's COMM_WORLD. `shutdown` finalizes MPI."""

    def __init__(self, comm: Any, finalize: Callable[[], None]) -> None:
        self._comm, self.shutdown = comm, finalize
        self._pending_sends: list[Any] = []

    def broadcast(self, value: Any) -> Any:
        return self._comm.bcast(value)

    def allgather(self, value: Any) -> list[Any]:
        return list(self._comm.allgather(value))

    def scatter(self, parts: Iterable[Any]) -> Any:
        if self._comm.rank:
            part = self._comm.recv(source=0)
            self._drop_sent()
            return part
        # One after another, so that rank 0 never has all of them in memory.
        local = None
        for rank, part in enumerate(parts):
            if rank:
                self._comm.send(part, rank)
            else:
                local = part
        return local

    def send_to_root(self, value: Any) -> None:
        self._drop_sent()
        self._pending_sends.append(self._comm.isend(value, 0, tag=MESSAGE_TAG))

    def _drop_sent(self) -> None:
        # A request that is dropped before it completes may be dropped with its message.
        self._pending_sends = [request for request in self._pending_sends if not request.Test()]

    def receive_pending(self) -> list[Any]:
        messages = []
        while self._comm.iprobe(tag=MESSAGE_TAG):
            messages.append(self._comm.recv(tag=MESSAGE_TAG))
        return messages

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        raise WorldError("MPI reduces no tensors.", "Start this command with horovodrun.")

    def translate_failures(self) -> AbstractContextManager[None]:
        return nullcontext()

    def start_timeline(self, path: Path) -> None:
        raise WorldError("MPI writes no timeline.", "Start this command with horovodrun.")

    def abort(self, status: int) -> NoReturn:
        self._comm.Abort(status)
        os._exit(status)  # Abort does not return; this is for the type checker


class HorovodCommunicator:
    """The calls of horovod.tensorflow that take tensors: they work with Keras 3.

    Horovod matches operations of ranks by name. The names that it makes itself depend on what was traced before, so ranks that
    traced other functions would wait for each other for ever. Therefore every operation is named here.

    Objects travel between the cores: NCCL would fail where ranks share a GPU, before they can tell each other that they do.
    """

    def __init__(self, hvd: Any) -> None:
        self._hvd = hvd

    def broadcast(self, value: Any) -> Any:
        from shardtune.runtime.frameworks import tf

        # Not hvd.broadcast_object: it makes a tensor of bytes one by one, which took 10 s for the weights of Inception v3.
        is_root = self._hvd.rank() == 0
        import numpy as np  # not above: --help has no use for it, and it takes a fifth of its time

        message = np.frombuffer(pickle.dumps(value, protocol=5) if is_root else b"", np.uint8)
        with tf.device(CORES):
            size = self._hvd.broadcast(np.array([message.size]), root_rank=0, name="broadcast.size").numpy()[0]
            buffer = message if is_root else np.empty(size, np.uint8)
            received = self._hvd.broadcast(buffer, root_rank=0, name="broadcast.message").numpy()
        return value if is_root else pickle.loads(received.data)

    def allgather(self, value: Any) -> list[Any]:
        from shardtune.runtime.frameworks import tf

        with tf.device(CORES):
            return list(self._hvd.allgather_object(value, name="gather"))

    def scatter(self, parts: Iterable[Any]) -> Any:
        raise WorldError(*MPI_ONLY)

    def send_to_root(self, value: Any) -> None:
        raise WorldError(*MPI_ONLY)

    def receive_pending(self) -> list[Any]:
        raise WorldError(*MPI_ONLY)

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        # ignore_name_scope: TensorFlow puts the name of the call in front where it inlines a function.
        name = GRAPH_PREFIX + name
        return list(self._hvd.grouped_allreduce(tensors, op=self._hvd.Sum, name=name, ignore_name_scope=True))

    @contextmanager
    def translate_failures(self) -> Iterator[None]:
        from shardtune.runtime.frameworks import tf

        try:
            yield
        except tf.errors.OpError as error:
            reason = collective_failure(error.message or "")
            if reason is None:
                raise
            raise CollectiveError(reason) from error

    def start_timeline(self, path: Path) -> None:
        self._hvd.start_timeline(str(path))

    def shutdown(self) -> None:
        self._hvd.shutdown()

    def abort(self, status: int) -> NoReturn:
        # Not sys.exit: Horovod's exit handler would wait for ranks that are blocked in a collective. The launcher ends those.
        os._exit(status)


def collective_failure(message: str) -> str | None:
    """Why an operation of Horovod failed, from TensorFlow's message; None where another operation failed.

    Errors of Horovod have no type of their own, and where a connection breaks, their text is Gloo's, MPI's or NCCL's. So the
    operation decides, which TensorFlow appends to every message.
    """
    operation = HOROVOD_OPERATION.search(message)
    if operation is None:
        return None
    reason = message[: operation.start()].rstrip().split("\n")[-1]
    return re.sub(r"^({{.*?}} )?(\[\S+:\d+\] )?", "", reason)  # a function's name, a line of C++
