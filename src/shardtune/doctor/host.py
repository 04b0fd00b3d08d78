"""What is on this host: asked of processes of their own, since what is broken may crash or hang."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shardtune.doctor import checks
from shardtune.doctor.finding import Finding, Reply

SECONDS = 20.0  # that a process may take: importing TensorFlow from a cold network file system is the slowest
DISK_BYTES = 64 << 20
DISK_SECONDS = 1.5  # after which a slow disk is let off
PIECE = 4 << 20
HELLO = """
import os
from shardtune.runtime.world import World
world = World.from_environment("mpi", os.environ)
ranks = world.allgather(world.rank)
if world.is_root:
    print(*ranks)
"""
# A test of whether ranks can talk, so two of them may share a core: Open MPI 4, Open MPI 5.
OVERSUBSCRIBE = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


def examine(directory: Path, environ: Mapping[str, str], of_ranks: Mapping[str, Reply] | None = None) -> list[Finding]:
    """All that one process can find out about this host, in about `SECONDS` at most.

    Args:
        directory: where the disk is tried.
        environ: the environment variables.
        of_ranks: where a launcher started this process, what its ranks know already. None without one: mpirun is tried.
    """
    mpirun = shutil.which("mpirun") if of_ranks is None else None
    commands = {
        "horovod": ("import horovod.tensorflow", _tell("of_horovod")),
        "mpi4py": ("import mpi4py", _tell("of_mpi4py")),
        "pip": ("pip check", [sys.executable, "-m", "pip", "check"]),
        "driver": ("nvidia-smi -L", ["nvidia-smi", "-L"] if shutil.which("nvidia-smi") else None),
        "slurm": ("srun --mpi=list", ["srun", "--mpi=list"] if shutil.which("srun") else None),
        "mpirun": (f"{mpirun} --version", [mpirun, "--version"] if mpirun else None),
        "hello": (f"{mpirun} -n 2", [mpirun, "-n", "2", sys.executable, "-c", HELLO] if mpirun else None),
    }
    replies = dict(of_ranks or {})
    with ThreadPoolExecutor(len(commands)) as pool:
        unknown = {name: asked for name, asked in commands.items() if name not in replies}
        asked = {name: pool.submit(ask, how, command) for name, (how, command) in unknown.items() if command}
        replies |= {name: future.result() for name, future in asked.items()}
    horovod = replies["horovod"]
    # Horovod imports TensorFlow, which is what takes the time: it is asked for alone only where Horovod fails.
    tensorflow = horovod if horovod.well else ask("import tensorflow", _tell("of_tensorflow"))
    findings = [
        checks.python(sys.version_info[:3], sys.executable),
        checks.versions(replies["pip"]),
        checks.tensorflow(tensorflow),
        checks.gpus(replies.get("driver"), tensorflow, environ.get("CUDA_VISIBLE_DEVICES")),
        checks.horovod(horovod),
        checks.nccl(horovod, tensorflow.facts.get("gpus", 0)),
        checks.mpi(replies["mpi4py"], horovod),
        checks.slurm(environ, replies.get("slurm")),
        disk(directory),
    ]
    return findings if of_ranks is not None else [*findings, checks.mpirun(replies.get("mpirun"), replies.get("hello"))]


def _tell(function: str) -> list[str]:
    """A command that prints what a function of `probes` returns."""
    code = f"import json; from shardtune.doctor import probes; print(json.dumps(probes.{function}()))"
    return [sys.executable, "-c", code]


def ask(how: str, command: Sequence[str], seconds: float = SECONDS) -> Reply:
    """What a command says, or why it fails; after `seconds` it is killed with all that it started."""
    # Safe path: modules that lie in the current directory are not what is asked for.
    environment = {**os.environ, **OVERSUBSCRIBE, "PYTHONSAFEPATH": "1"}
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Reply(how, f"{command[0]} cannot be run ({error.strerror})", well=False)
    try:
        output, complaints = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Reply(how, f"no answer in {seconds:g} s", well=False)
    if process.returncode == 0:
        # Some print what was asked for to stderr.
        return Reply(how, output.strip() or complaints.strip())
    return Reply(how, reason(complaints) or reason(output) or f"status {process.returncode}", well=False)


def reason(complaints: str) -> str:
    """The line of a failed command's output that says most: the exception of a traceback, else the first with words."""
    exceptions = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|NotFound): .+)", complaints, re.MULTILINE)
    worded = [line.strip() for line in complaints.splitlines() if re.search(r"\w{2}", line)]
    return exceptions[-1] if exceptions else next(iter(worded), "")


def disk(directory: Path) -> Finding:
    """How fast a directory is written and read, tried on a temporary file that no other program sees."""
    piece = os.urandom(PIECE)
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            start, done = time.perf_counter(), 0
            while done < DISK_BYTES and time.perf_counter() - start < DISK_SECONDS:
                done += file.write(piece)
            os.fsync(file.fileno())
            write = done / (time.perf_counter() - start)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that the disk is read, and not memory
            file.seek(0)
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < DISK_SECONDS and (data := file.read(PIECE)):
                done += len(data)
            read = done / (time.perf_counter() - start)
        return checks.disk(str(directory), write, read, shutil.disk_usage(directory).free)
    except OSError as error:
        advice = "give a --directory that exists, can be written, and has room"
        return Finding("disk", f"{directory}: {error.strerror}", "a temporary file", advice)


def cores() -> Finding:
    """Cores that a process without a launcher may use."""
    return Finding("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}", "os.sched_getaffinity")
