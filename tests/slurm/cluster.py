"""A SLURM of two nodes on this machine, of the tests' own: its configuration, key, ports and folder are private."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.launching import ENVIRONMENT, finish, start

SECONDS_TO_START = 120  # a hang ends there
# linuxproc and no task plugin: others need cgroups, which a container may not have. A job that is queued again waits until
# its credentials have expired. Two SLURMs on one machine (one for each pytest-xdist worker) need a TmpFS of their own, for the
# folder of PMIx, and job numbers of their own: Open MPI names the memory that tasks share only by user, job and step.
CONFIGURATION = """\
ClusterName=shardtune
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
TmpFS={folder}
FirstJobId={ports[0]}
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=5
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=main Nodes=n1,n2 Default=YES
"""


@dataclass(frozen=True)
class Cluster:
    """A running SLURM. `folder` holds its configuration, and for each daemon what it printed."""

    folder: Path

    def run(self, *command: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """srun, sbatch, scontrol …, with stdout and stderr together; past the limit it is killed and the test fails."""
        return finish(start([*map(str, command)], environment=self._environment), timeout)

    @property
    def _environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    @contextmanager
    def daemon(self, name: str, *command: str) -> Iterator[None]:
        """Run a daemon in the foreground of its own session; SIGTERM is its regular end."""
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                env={**ENVIRONMENT, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not holds():
            if time.monotonic() > deadline:
                logs = {path.name: path.read_text() for path in sorted(self.folder.glob("*.log"))}
                raise AssertionError(f"SLURM did not start in {SECONDS_TO_START} s: {logs}")
            time.sleep(0.1)


def why_not() -> str | None:
    """Why this machine cannot have a SLURM of the tests' own, or None."""
    if os.geteuid():
        return "slurmd needs root"
    missing = [name for name in ("munged", "slurmctld", "slurmd", "srun") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: slurm-wlm, munge)"
    # SLURM's plugin loads it by this name, which the package of the library itself does not have.
    loads = subprocess.run([sys.executable, "-c", "import ctypes; ctypes.CDLL('libpmix.so')"], capture_output=True, check=False)
    return "needs libpmix.so (Debian: libpmix-dev)" if loads.returncode else None


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start a SLURM in an empty folder, wait until both nodes are idle, and stop it in the end."""
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, ports=free_ports(3)))
    (folder / "state").mkdir()
    key, munge_socket = folder / "munge.key", folder / "munge.socket"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    munge_files = [f"--{kind}-file={folder / 'munge'}.{kind}" for kind in ("log", "pid", "seed")]
    cluster = Cluster(folder)
    with ExitStack() as daemons:
        # --force: a folder that only root can enter is a warning then.
        munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge_socket}", *munge_files]
        daemons.enter_context(cluster.daemon("munged", *munged))
        cluster.wait_until(munge_socket.exists)
        daemons.enter_context(cluster.daemon("slurmctld", "slurmctld", "-D"))
        for node in ("n1", "n2"):
            daemons.enter_context(cluster.daemon(node, "slurmd", "-D", "-N", node))
        # Allocated/idle nodes: before they have registered, their state is unknown.
        cluster.wait_until(lambda: cluster.run("sinfo", "--noheader", "--format=%A").stdout == "0/2\n")
        yield cluster


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at: held open together, so that they differ."""
    with ExitStack() as stack:
        held = [stack.enter_context(closing(socket.socket())) for _ in range(number)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
