"""The processes of a job as one value: who am I, how many are we, and how we talk.

A world of size 1 answers every collective rightly, so no caller asks "am I distributed?".
"""

import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from shardtune.errors import RootFailedError, WorldError, exit_status_of
from shardtune.runtime.backends import Backend, connect
from shardtune.runtime.communicators import Communicator, SingleProcessCommunicator
from shardtune.runtime.guard import Guard
from shardtune.runtime.launcher import detect_launcher
from shardtune.runtime.rollcall import Member

T = TypeVar("T")


class RootOnly(Generic[T]):
    """A value that exists on rank 0 alone."""

    def __init__(self, value: T | None, *, is_root: bool) -> None:
        self._value, self._is_root = value, is_root

    def get(self) -> T:
        """The value.

        Raises:
            RuntimeError: this is not rank 0, which is a fault of the program.
        """
        if not self._is_root:
            raise RuntimeError("this value exists on rank 0 alone")
        return self._value  # type: ignore[return-value]


@dataclass(frozen=True)
class World:
    """Rank and size of this process, and the collectives over all of them.

    Attributes:
        rank: 0 to size − 1; rank 0 speaks and writes for all.
        size: number of processes in the job.
        local_rank: rank among the processes of this host.
        local_size: number of processes on this host.
        guard: what every rank tells that it gets on; each collective does.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _communicator: Communicator = field(default_factory=SingleProcessCommunicator, repr=False, compare=False)
    guard: Guard = field(default_factory=Guard, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.size and 0 <= self.local_rank < self.local_size <= self.size):
            raise WorldError(f"A rank lies between 0 and the size of its world, not {self}: start the job again.")

    @staticmethod
    def from_environment(backend: Backend, environ: Mapping[str, str], guard: Guard | None = None) -> "World":
        """The world that the launcher made: of size 1 without one. Its ranks report to `guard`, if that looks on.

        Raises:
            WorldError: a launcher started n processes, and the backend is missing, is another one than the launcher
                knows, or sees another number.
        """
        launcher, guard = detect_launcher(environ), guard or Guard()
        if launcher is None:
            return World(guard=guard)
        launcher.set_mpi_parameters(os.environ)
        try:
            with guard.time_limit(
                f"All {launcher.size} processes find each other, but some of them have not come: see that each host reaches "
                f"the others and that none has ended."
            ):
                world = World(*connect(backend, launcher))
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise WorldError(
                f"A launcher started {launcher.size} process(es), so {backend} must be usable here, but it is not "
                f"({error}): run launch/setup.sh, or start the command without a launcher."
            ) from error
        if world.size != launcher.size:
            raise WorldError(
                f"The launcher started {launcher.size} processes but {backend} sees {world.size}: use the mpirun or "
                f"srun --mpi=… of the MPI that {backend} was built with."
            )
        guard.name = world.name
        return replace(world, guard=guard)

    @contextmanager
    def _collective(self) -> Iterator[None]:
        """Around each of them. Ranks that come to the first one tell each other who they are: not earlier, since it starts
        TensorFlow where they talk over Horovod."""
        with self.guard.waiting_for_ranks():
            if not self.guard.knows_ranks:
                told = self._communicator.allgather((secrets.token_hex(8), Member.this()))
                self.guard.register_ranks(told[0][0], self.rank, [member for _, member in told])
            yield

    def use_roll_call(self, directory: Path) -> None:
        """Let ranks that hang find out through this directory, which all of them see, who is late. For all ranks to call."""
        self.run_on_root(lambda: self.guard.remove_reports(directory))
        self.guard.use_roll_call(directory)
        self.barrier()

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    @property
    def name(self) -> str:
        """This process in the words of a message."""
        return f"rank {self.rank} of {self.size} on {socket.gethostname()}"

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank. The value travels pickled between our own processes."""
        with self._collective():
            return self._communicator.broadcast(value)  # type: ignore[no-any-return]

    def allgather(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on every rank."""
        with self._collective():
            return self._communicator.allgather(value)

    def scatter(self, parts: Iterable[T]) -> T:
        """Part r of rank 0's `parts` on rank r; on other ranks the argument is not looked at. MPI only."""
        with self.guard.waiting_for_ranks():
            return self._communicator.scatter(parts)  # type: ignore[no-any-return]

    def send_to_root(self, value: Any) -> None:
        """Send `value` to rank 0 without waiting until it is collected. MPI only."""
        self._communicator.send_to_root(value)

    def receive_pending(self) -> list[Any]:
        """On rank 0: what ranks, 0 included, have posted since the last call, each rank's in order. MPI only."""
        return self._communicator.receive_pending()

    def barrier(self) -> None:
        """Return when every rank has come here."""
        self.allgather(None)

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        """Element-wise sums over ranks of float tensors (not bfloat16); differentiable, callable inside a tf.function.

        Args:
            name: by which ranks find each other: the same on all, and that of no other sum of the same step.
        """
        from shardtune.runtime.frameworks import tf

        # The gradient of a sum over ranks is one, too. It is given here, around every communicator, so that a world of one
        # adds the gradients of what a tensor goes into in the same order as any other.
        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def summed(*tensors: Any) -> tuple[Any, Any]:
            def gradient(*upstream: Any) -> list[Any]:
                return self._communicator.allreduce_sum(list(upstream), f"{name}.gradient")

            return self._communicator.allreduce_sum(list(tensors), name), gradient

        return list(summed(*tensors))

    def start_timeline(self, path: Path) -> None:
        """Write Horovod's timeline, which tells of each collective when it waited and when it ran, to `path` from now on.

        `enable_timeline` must have been called before the world was made.
        """
        self._communicator.start_timeline(path)

    def shutdown(self) -> None:
        """Let go of what collectives go over. For all ranks to call, and none of them calls a collective after it."""
        self._communicator.shutdown()

    def abort(self, status: int) -> NoReturn:
        """End this process, and with it every rank of the job, with a non-zero status."""
        _flush()
        self._communicator.abort(status)

    def exit(self, status: int) -> NoReturn:
        """End this process in good order, as all other ranks do, whatever threads are still at work."""
        self.shutdown()
        self.guard.stop()
        _flush()
        # Not sys.exit: a thread of TensorFlow's that calls Python, and Python that is going away, would wait for each other.
        os._exit(status)

    def run_on_root(self, function: Callable[[], T]) -> RootOnly[T]:
        """Call `function` on rank 0, where its result stays; if it raises there, every rank raises.

        It may take long, as long as it sends heartbeats: they are passed on to the ranks that wait.

        Raises:
            RootFailedError: on the other ranks, in place of the exception that rank 0 raises itself.
        """
        return RootOnly(self._run_on_root(function), is_root=self.is_root)

    def broadcast_from_root(self, function: Callable[[], T]) -> T:
        """Call `function` on rank 0 and give its result to all; if it raises there, every rank raises as `run_on_root` does."""
        return self.broadcast(self._run_on_root(function))  # type: ignore[return-value]

    def _run_on_root(self, function: Callable[[], T]) -> T | None:
        result: T | None = None
        failure: Exception | None = None
        status = 0
        if self.is_root:
            try:
                with self.guard.relay_heartbeats(lambda: self.broadcast(None)):
                    result = function()
            except Exception as error:
                failure, status = error, exit_status_of(error)
        while (ended := self.broadcast(status)) is None:
            pass  # it is still at work
        if failure is not None:
            raise failure
        if ended:
            raise RootFailedError(ended)
        return result


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
