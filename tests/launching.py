"""Commands on several real processes, each with a time limit, so that a hang is a failure."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# What a test machine needs and nothing that would spare a person something: root in a container, more ranks than cores, no GPU.
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("OMPI_", "PMIX_", "HOROVOD_", "SLURM_"))},
    "CUDA_VISIBLE_DEVICES": "",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}
LAUNCHERS = {
    "alone": lambda n: [],
    "mpirun": lambda n: ["mpirun", "-n", str(n)],
    "horovodrun --mpi": lambda n: ["horovodrun", "--mpi", "-np", str(n)],
    "horovodrun --gloo": lambda n: ["horovodrun", "--gloo", "-np", str(n)],
    "gloo": lambda n: [sys.executable, "-m", "tests.horovodrun", "--gloo", "-np", str(n)],  # the same, sooner
}


def launch(arguments: Sequence[str], *, launcher: str = "alone", ranks: int = 1, timeout: float = 240) -> str:
    """Run `python arguments` on `ranks` processes; returns what they printed, or fails the test with it."""
    done = run([sys.executable, *arguments], launcher=launcher, ranks=ranks, timeout=timeout)
    if done.returncode:
        raise AssertionError(f"status {done.returncode} of {arguments}:\n{done.stdout}")
    return done.stdout


def shardtune(*arguments: object, launcher: str = "alone", ranks: int = 1, timeout: float = 240) -> str:
    """`shardtune arguments` on `ranks` processes."""
    return launch(["-m", "shardtune", *map(str, arguments)], launcher=launcher, ranks=ranks, timeout=timeout)


def run(
    command: Sequence[str], *, launcher: str, ranks: int, timeout: float, environment: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Like subprocess.run with stdout and stderr together; past the limit the whole process group is killed."""
    return finish(start(command, launcher=launcher, ranks=ranks, environment=environment), timeout)


def start(
    command: Sequence[str], *, launcher: str = "alone", ranks: int = 1, environment: Mapping[str, str] = {}
) -> subprocess.Popen[str]:
    """The first half of `run`."""
    return subprocess.Popen(
        [*LAUNCHERS[launcher](ranks), *command],
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """The second half of `run`."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"{process.args!r} hung for {timeout} s:\n{output}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, output)
