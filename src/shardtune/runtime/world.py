"""The processes of a job: the rank of this one, their number, and the operations over all of them, each of which gives the
right result in a world of size 1: no caller needs a special case for one process."""

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from shardtune.errors import RootFailedError, WorldError, picklable
from shardtune.runtime.backends import Backend, connect
from shardtune.runtime.communicators import Communicator, SingleProcessCommunicator
from shardtune.runtime.guard import Guard
from shardtune.runtime.launcher import detect_launcher
from shardtune.runtime.rollcall import Member
from shardtune.runtime.root_only import RootOnly

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Rank and size of this process, and the collectives over all of them.

    Attributes:
        rank: 0 to size − 1. Rank 0 prints and writes for all.
        size: number of processes of the job.
        local_rank: rank among the processes of this host.
        local_size: number of processes of this host.
        guard: gets the heartbeats of this rank; each collective sends one.
        prints: whether rank 0 prints what a person should know, as a command does, or logs it, as a library does.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _communicator: Communicator = field(default_factory=SingleProcessCommunicator, repr=False, compare=False)
    guard: Guard = field(default_factory=Guard, repr=False, compare=False)
    prints: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.size and 0 <= self.local_rank < self.local_size <= self.size):
            raise WorldError(f"{self} is not possible: ranks are at least 0 and below the size.", "Start the job again.")

    @staticmethod
    def from_environment(backend: Backend, environ: Mapping[str, str], guard: Guard | None = None) -> "World":
        """The world of the processes that the launcher started; of size 1 without a launcher.

        Raises:
            WorldError: under a launcher, the backend is missing, or of another launcher, or sees another number of processes.
        """
        launcher, guard = detect_launcher(environ), guard or Guard()
        if launcher is None:
            return World(guard=guard)
        launcher.set_mpi_parameters(os.environ)
        try:
            with guard.time_limit(
                f"Some of the {launcher.size} processes of this job have not connected in time. Check that each host reaches "
                f"the others and that none of the processes has ended."
            ):
                world = World(*connect(backend, launcher))
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise WorldError(
                f"{launcher.name} started {launcher.size} process(es), but {backend} cannot be used here ({error}).",
                "Run launch/setup.sh of shardtune's repository, which installs it, or start one process without a launcher.",
            ) from error
        if world.size != launcher.size:
            raise WorldError(
                f"The launcher started {launcher.size} processes, but {backend} sees {world.size}.",
                f"Use the mpirun or srun --mpi=… of the MPI that {backend} was built with.",
            )
        guard.name = world.name
        return replace(world, guard=guard)

    @contextmanager
    def _collective(self) -> Iterator[None]:
        """Around each collective. In the first one, ranks exchange what identifies their processes: not earlier, because that
        starts TensorFlow where the backend is Horovod."""
        with self.guard.waiting_for_ranks():
            if not self.guard.knows_ranks:
                answers = self._communicator.allgather((secrets.token_hex(8), Member.this_process()))
                self.guard.register_ranks(answers[0][0], self.rank, [member for _, member in answers])
            yield

    def use_roll_call(self, directory: Path) -> None:
        """Find the late rank of a hanging job through files in `directory`, which all ranks see. For all ranks to call."""
        self.run_on_root(lambda: self.guard.remove_reports(directory))
        self.guard.use_roll_call(directory)
        self.barrier()

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    @property
    def name(self) -> str:
        """This process, as text for people."""
        return f"rank {self.rank} of {self.size} on {socket.gethostname()}"

    def broadcast(self, value: T) -> T:
        """The value of rank 0, on every rank. It is pickled."""
        with self._collective():
            return self._communicator.broadcast(value)  # type: ignore[no-any-return]

    def allgather(self, value: T) -> list[T]:
        """The values of all ranks, in rank order, on every rank. They are pickled."""
        with self._collective():
            return self._communicator.allgather(value)

    def scatter(self, parts: Iterable[T]) -> T:
        """Part r of rank 0's `parts` on rank r; on other ranks the argument is not looked at. MPI only."""
        with self.guard.waiting_for_ranks():
            return self._communicator.scatter(parts)  # type: ignore[no-any-return]

    def send_to_root(self, value: Any) -> None:
        """Send `value` to rank 0 without waiting until it is received. MPI only."""
        self._communicator.send_to_root(value)

    def receive_pending(self) -> list[Any]:
        """On rank 0: the values that ranks, 0 included, have sent since the last call, each rank's in order. MPI only."""
        return self._communicator.receive_pending()

    def gather(self, function: Callable[[], T]) -> RootOnly[list[T]]:
        """Call `function`, which must not raise, on every rank. Its results, in rank order, on rank 0 alone. MPI only.

        It may take any time while it sends heartbeats, which are relayed to the waiting ranks. Results are pickled.
        """
        if not self.is_root:
            with self.guard.relay_heartbeats(lambda: self.send_to_root({})):
                self.send_to_root({self.rank: function()})
            while not self.scatter(()):
                pass  # a heartbeat: some rank is still working
            return RootOnly(None, is_root=False)
        # Not a broadcast, which ranks that work would not pass on.
        with self.guard.relay_heartbeats(lambda: self.scatter([False] * self.size)):
            values = self._receive_from_all(function())
        self.scatter([True] * self.size)
        return RootOnly(values, is_root=True)

    def _receive_from_all(self, own: T) -> list[T]:
        by_rank = {0: own}
        while len(by_rank) < self.size:
            for message in self.receive_pending():
                self.guard.heartbeat("waiting for the other ranks")
                by_rank.update(message)
            time.sleep(0.001)
        return [by_rank[rank] for rank in range(self.size)]

    def barrier(self) -> None:
        """Return when every rank has called it."""
        self.allgather(None)

    def allreduce_sum(self, tensors: list[Any], name: str) -> list[Any]:
        """Element-wise sums over ranks of float tensors (not bfloat16); differentiable, callable inside a tf.function.

        Args:
            name: by which ranks match their operations: the same on all ranks, and of no other sum in the same step.
        """
        from shardtune.runtime.frameworks import tf

        # The gradient of a sum over ranks is such a sum, too. It is defined here, for every communicator, so that a world of
        # one adds gradients in the same order as any other.
        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def summed(*tensors: Any) -> tuple[Any, Any]:
            def gradient(*upstream: Any) -> list[Any]:
                return self._communicator.allreduce_sum(list(upstream), f"{name}.gradient")

            return self._communicator.allreduce_sum(list(tensors), name), gradient

        return list(summed(*tensors))

    def translate_failures(self) -> AbstractContextManager[None]:
        """Around operations over all ranks: a failure of the backend becomes a CollectiveError.

        Raises:
            CollectiveError: with the first line of the backend's message, and with its exception as the cause.
        """
        return self._communicator.translate_failures()

    def start_timeline(self, path: Path) -> None:
        """Write Horovod's timeline to `path` from now on: when each collective waited, and when it ran.

        `enable_timeline` must have been called before the world was made.
        """
        self._communicator.start_timeline(path)

    def shutdown(self) -> None:
        """Close the backend. For all ranks to call; no collective is possible afterwards."""
        self._communicator.shutdown()

    def abort(self, status: int) -> NoReturn:
        """End this process, and with it every rank of the job, with a non-zero status."""
        _flush()
        self._communicator.abort(status)

    def exit(self, status: int) -> NoReturn:
        """End this process in good order, whatever threads are still running. For all ranks to call."""
        self.shutdown()
        self.guard.stop()
        _flush()
        # Not sys.exit: an exiting Python and a thread of TensorFlow that calls Python would wait for each other.
        os._exit(status)

    def run_on_root(self, function: Callable[[], T]) -> RootOnly[T]:
        """Call `function` on rank 0, where its result stays. If it raises, every rank raises.

        It may take any time while it sends heartbeats, which are relayed to the waiting ranks.

        Raises:
            RootFailedError: on the other ranks, with what `function` raised on rank 0.
        """
        return RootOnly(self._run_on_root(function), is_root=self.is_root)

    def broadcast_from_root(self, function: Callable[[], T]) -> T:
        """Call `function` on rank 0 and return its result on every rank. Otherwise like `run_on_root`."""
        return self.broadcast(self._run_on_root(function))  # type: ignore[return-value]

    def _run_on_root(self, function: Callable[[], T]) -> T | None:
        result: T | None = None
        failure: Exception | None = None
        if self.is_root:
            try:
                with self.guard.relay_heartbeats(lambda: self.broadcast(None)):
                    result = function()
            except Exception as error:
                failure = error
        while (failures := self.broadcast([picklable(failure)] if failure else [])) is None:
            pass  # a heartbeat: rank 0 is still working
        if failure is not None:
            raise failure
        if failures:
            raise RootFailedError(failures[0])
        return result


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader is gone
            stream.flush()
