"""Check this host. Probes run in processes of their own, because what is broken may crash or hang."""

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
from shardtune.doctor.finding import Finding, ProbeResult, ProbeStatus

PROBE_SECONDS = 240.0  # enough to import TensorFlow from a cold network disk on a busy machine: only a hang takes longer
DISK_BYTES = 64 << 20
DISK_SECONDS = 1.5  # at most, to write and to read as many of them as a slow disk can
CHUNK_BYTES = 4 << 20
TWO_RANKS = """
import os
from shardtune.runtime.world import World
world = World.from_environment("mpi", os.environ)
ranks = world.allgather(world.rank)
if world.is_root:
    print(*ranks)
"""
# The two ranks only need to find each other, so they may share a core: for Open MPI 4, for Open MPI 5.
OVERSUBSCRIBE = {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
KNOWN_FAILURES: dict[str, ProbeStatus] = {"No module named pip": "no pip", "run as root": "root refused"}  # by their output


def check_host(directory: Path, environ: Mapping[str, str], known: Mapping[str, ProbeResult] | None = None) -> list[Finding]:
    """All that one process can find out about this host.

    Args:
        directory: where the disk is measured.
        environ: the environment variables.
        known: under a launcher, the results that its ranks have already. None without a launcher: mpirun is then tried.
    """
    mpirun = shutil.which("mpirun") if known is None else None
    commands = {
        "horovod": ("import horovod.tensorflow", _probe_command("horovod_facts")),
        "mpi4py": ("import mpi4py", _probe_command("mpi4py_facts")),
        "pip": ("pip check", [sys.executable, "-m", "pip", "check"]),
        "driver": ("nvidia-smi -L", ["nvidia-smi", "-L"] if shutil.which("nvidia-smi") else None),
        "slurm": ("srun --mpi=list", ["srun", "--mpi=list"] if shutil.which("srun") else None),
        "mpirun": (f"{mpirun} --version", [mpirun, "--version"] if mpirun else None),
        "two_ranks": (f"{mpirun} -n 2", [mpirun, "-n", "2", sys.executable, "-c", TWO_RANKS] if mpirun else None),
    }
    results = dict(known or {})
    with ThreadPoolExecutor(len(commands)) as pool:
        probes = {
            name: pool.submit(run_probe, source, command)
            for name, (source, command) in commands.items()
            if command and name not in results
        }
        results |= {name: probe.result() for name, probe in probes.items()}
    horovod = results["horovod"]
    # Horovod imports TensorFlow, which is what takes the time: TensorFlow is imported alone only where Horovod fails.
    tensorflow = horovod if horovod.ok else run_probe("import tensorflow", _probe_command("tensorflow_facts"))
    findings = [
        checks.check_python(sys.version_info[:3], sys.executable),
        checks.check_versions(results["pip"]),
        checks.check_tensorflow(tensorflow),
        checks.check_gpus(results.get("driver"), tensorflow, environ.get("CUDA_VISIBLE_DEVICES")),
        checks.check_horovod(horovod),
        checks.check_nccl(horovod, tensorflow.facts.get("gpus", 0)),
        checks.check_mpi(results["mpi4py"], horovod),
        checks.check_slurm(environ, results.get("slurm")),
        measure_disk(directory),
    ]
    if known is None:
        findings.append(checks.check_mpirun(results.get("mpirun"), results.get("two_ranks")))
    return findings


def _probe_command(function: str) -> list[str]:
    """A command that prints what a function of `probes` returns."""
    code = f"import json; from shardtune.doctor import probes; print(json.dumps(probes.{function}()))"
    return [sys.executable, "-c", code]


def run_probe(source: str, command: Sequence[str], seconds: float = PROBE_SECONDS) -> ProbeResult:
    """Run a command. After `seconds` it is killed with all processes that it started."""
    # Safe path: modules in the current directory are not the ones to check.
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
        return ProbeResult(source, f"{command[0]} cannot be run ({error.strerror})", "failed")
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ProbeResult(source, f"no answer in {seconds:g} s", "timed out")
    if process.returncode == 0:
        return ProbeResult(source, output.strip() or errors.strip())  # some programs print their output to stderr
    text = main_error_line(errors) or main_error_line(output) or f"status {process.returncode}"
    return ProbeResult(source, text, next((status for words, status in KNOWN_FAILURES.items() if words in text), "failed"))


def main_error_line(output: str) -> str:
    """The most useful line of a failed command's output: the exception of a traceback, else the first line with words."""
    exceptions = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|NotFound): .+)", output, re.MULTILINE)
    with_words = [line.strip() for line in output.splitlines() if re.search(r"\w{2}", line)]
    return exceptions[-1] if exceptions else next(iter(with_words), "")


def measure_disk(directory: Path) -> Finding:
    """Write and read a temporary file that no other program sees."""
    chunk = os.urandom(CHUNK_BYTES)
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            start, done = time.perf_counter(), 0
            while done < DISK_BYTES and time.perf_counter() - start < DISK_SECONDS:
                done += file.write(chunk)
            os.fsync(file.fileno())
            write_rate = done / (time.perf_counter() - start)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that the disk is read, not the memory
            file.seek(0)
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < DISK_SECONDS and (data := file.read(CHUNK_BYTES)):
                done += len(data)
            read_rate = done / (time.perf_counter() - start)
        return checks.check_disk(str(directory), write_rate, read_rate, shutil.disk_usage(directory).free)
    except OSError as error:
        advice = "give a --directory that exists, can be written, and has room"
        return Finding("disk", f"{directory}: {error.strerror}", "a temporary file", advice)


def count_cores() -> Finding:
    """The cores that a process without a launcher may use."""
    return Finding("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}", "os.sched_getaffinity")
