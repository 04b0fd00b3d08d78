"""What a supervisor does outside of its own process: programs, signals, hosts and the clock, behind one interface.

Decisions take a `Machine`, so that tests can put a fake clock and a schedule of faults in its place.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol

from shardtune.errors import WorldError
from shardtune.runtime.devices import count_visible_gpus
from shardtune.runtime.progress import escape_control_chars
from shardtune.supervise.hosts import Host

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SSH = ("ssh", "-n", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
SSH_SECONDS = 30.0  # for a short command on another host, the connection included
PROBE_POLL_SECONDS = 0.1


class Process(Protocol):
    """A launcher in a session of its own, which Ctrl-C does not reach."""

    def poll(self) -> int | None:
        """Its exit status (128 + n after signal n), or None while it runs."""

    def group_exists(self) -> bool:
        """Whether it or a process that it started is left."""

    def send_signal(self, number: signal.Signals) -> None: ...

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and all processes that it started on this machine."""


class Machine(Protocol):
    """This machine, and the hosts that it reaches over ssh."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None: ...

    def take_signals(self) -> list[signal.Signals]:
        """The SIGINT, SIGTERM and SIGUSR1 that have come since the last call."""

    def start(self, words: Sequence[str], environment: Mapping[str, str]) -> Process:
        """Start a program. It gets this process's variables, and those of `environment` that are not among them."""

    def replace(self, words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        """Become that program."""

    def find_program(self, name: str) -> str:
        """The whole path of a program on the PATH; the name itself if there is none."""

    def count_gpus(self) -> int:
        """GPUs of this machine that CUDA_VISIBLE_DEVICES does not hide."""

    def count_cores(self) -> int:
        """Cores that this process may use, without those that share a core with another one."""

    def is_local(self, host: str) -> bool:
        """Whether a host name is this machine."""

    def keep_reachable(self, hosts: Sequence[Host]) -> tuple[Host, ...]:
        """The hosts that are local or answer over ssh; all that remain unknown when a signal comes are left out."""

    def stop_rank(self, host: str, pid: int) -> None:
        """Send SIGUSR1 to a process on a host."""

    def requeue(self, job: str) -> int:
        """Put a SLURM job back into the queue; returns the status of scontrol."""

    def say(self, text: str) -> None:
        """One sentence to the person, on stderr."""

    def show(self, words: Sequence[str]) -> None:
        """Print a command line that is about to run, on stderr."""


class LocalProcess:
    """See `Process`."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = _spawn(words, environment, start_new_session=True)

    def poll(self) -> int | None:
        status = self._process.poll()
        return status if status is None or status >= 0 else 128 - status

    def group_exists(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it may just have ended
            os.killpg(self._process.pid, number)


class LocalMachine:
    """See `Machine`. From its construction on, SIGINT, SIGTERM and SIGUSR1 are only recorded. For the main thread."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        # Programs of the environment that this Python belongs to are found even where it is not activated.
        path = os.pathsep.join(filter(None, (environ.get("PATH"), str(Path(sys.executable).parent))))
        self._environ = {**environ, "PATH": path}
        self._signals: list[signal.Signals] = []
        for number in STOP_SIGNALS:
            signal.signal(number, lambda number, frame: self._signals.append(signal.Signals(number)))

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def take_signals(self) -> list[signal.Signals]:
        taken = self._signals[:]
        del self._signals[: len(taken)]  # one may come between these two lines
        return taken

    def start(self, words: Sequence[str], environment: Mapping[str, str]) -> LocalProcess:
        return LocalProcess(words, {**environment, **self._environ})

    def replace(self, words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the program would inherit that
            signal.signal(number, signal.SIG_DFL)
        sys.stdout.flush()
        try:
            os.execvpe(words[0], [*words], {**environment, **self._environ})
        except FileNotFoundError:
            raise _missing(words[0]) from None

    def find_program(self, name: str) -> str:
        return shutil.which(name, path=self._environ["PATH"]) or name

    def count_gpus(self) -> int:
        return count_visible_gpus(self._read_lines("nvidia-smi", "-L"), self._environ.get("CUDA_VISIBLE_DEVICES"))

    def count_cores(self) -> int:
        usable = len(os.sched_getaffinity(0))
        cores = {line for line in self._read_lines("lscpu", "-p=core,socket") if not line.startswith("#")}
        return min(len(cores) or usable, usable)

    def is_local(self, host: str) -> bool:
        with socket.socket() as probe:
            try:
                probe.bind((host, 0))  # only addresses of this machine can be bound to
            except (OSError, UnicodeError):  # the latter for what can be no name at all
                return False
        return True

    def keep_reachable(self, hosts: Sequence[Host]) -> tuple[Host, ...]:
        remote = {host.name for host in hosts if not self.is_local(host.name)}
        probes = {name: _spawn((*SSH, name, "true"), self._environ, stderr=subprocess.DEVNULL) for name in remote}
        deadline = self.now() + SSH_SECONDS
        while any(probe.poll() is None for probe in probes.values()) and self.now() < deadline and not self._signals:
            self.sleep(PROBE_POLL_SECONDS)
        for probe in probes.values():
            probe.kill()  # does nothing to one that has ended
            probe.wait()
        return tuple(host for host in hosts if host.name not in probes or probes[host.name].returncode == 0)

    def stop_rank(self, host: str, pid: int) -> None:
        if host == socket.gethostname():
            with suppress(OSError):  # it may just have ended
                os.kill(pid, signal.SIGUSR1)
            return
        with suppress(OSError, subprocess.TimeoutExpired):  # a second signal tries again
            words = [*SSH, host, "kill", "-USR1", str(pid)]
            subprocess.run(words, env=self._environ, timeout=SSH_SECONDS, check=False)

    def requeue(self, job: str) -> int:
        return subprocess.run(["scontrol", "requeue", job], env=self._environ, check=False).returncode

    def say(self, text: str) -> None:
        self._print(f"shardtune: {text}")

    def show(self, words: Sequence[str]) -> None:
        self._print(f"+ {shlex.join(words)}")

    def _print(self, line: str) -> None:
        print(escape_control_chars(line), file=sys.stderr, flush=True)

    def _read_lines(self, *words: str) -> list[str]:
        """What a program prints; nothing if it is absent or fails."""
        try:
            return subprocess.run(words, env=self._environ, capture_output=True, text=True, check=True).stdout.splitlines()
        except (OSError, subprocess.CalledProcessError):
            return []


def _spawn(
    words: Sequence[str], environment: Mapping[str, str], *, stderr: int | None = None, start_new_session: bool = False
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stderr=stderr, start_new_session=start_new_session
        )
    except FileNotFoundError:
        raise _missing(words[0]) from None


def _missing(program: str) -> WorldError:
    return WorldError(f"The program {program} is not on the PATH.", "Run launch/setup.sh and source .venv/bin/activate.")
