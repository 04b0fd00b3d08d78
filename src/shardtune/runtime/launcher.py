"""What started this process, read from the variables that launchers leave: the one place that looks at them."""

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from shardtune.errors import WorldError

OPEN_MPI_FILE = Path(".openmpi/mca-params.conf")  # below the home directory: a person's own parameters


@dataclass(frozen=True)
class Launcher:
    """Whoever started the processes of a job.

    Attributes:
        name: as a person types it.
        size: number of processes that it started.
        mpi_version_pattern: regular expression for the start of MPI_Get_library_version() of each MPI whose processes it can
            start; None where it starts them without MPI.
        one_host: whether it tells that all of them are on one host.
    """

    name: str
    size: int
    mpi_version_pattern: str | None
    one_host: bool = False

    def check_mpi(self, library: str | None, user: str) -> None:
        """Raise WorldError if processes that load this MPI `library` (None: no MPI) would not find each other.

        To be asked before MPI starts: there, an MPI that does not know the launcher ends the process, or is alone.
        """
        if self.mpi_version_pattern is None:
            raise WorldError(
                f"This command's processes talk over MPI, but {self.name} started them without one: type "
                f"mpirun -n {self.size} in its place."
            )
        if library is None:
            raise WorldError(
                f"{self.name} starts processes that talk over MPI, but {user} was built without it: type "
                f"horovodrun --gloo -np {self.size} in its place."
            )
        if not re.match(self.mpi_version_pattern, library):
            raise WorldError(
                f"A launcher starts processes of its own MPI, but this {self.name} is not of {library}, which {user} "
                f"loads: put that MPI's bin directory first on the PATH."
            )

    def set_mpi_parameters(self, environ: MutableMapping[str, str]) -> None:
        """Give Open MPI, which reads them when it starts, the parameters that a person has set neither here nor in a file."""
        parameters = {"mpi_yield_when_idle": "1"}  # a rank that waits for others leaves them the core
        if self.one_host:
            # It serves one-sided communication between hosts, and sleeps for a second when it is closed.
            parameters["btl"] = "^ofi"
        for name in parameters.keys() - _names_in(Path(environ.get("HOME", "/")) / OPEN_MPI_FILE):
            environ.setdefault(f"OMPI_MCA_{name}", parameters[name])


def detect_launcher(environ: Mapping[str, str]) -> Launcher | None:
    """The innermost launcher, or None for a process that is alone.

    Variables as left by Horovod 0.28.1, Open MPI 4.1.8 and 5.0.11, MPICH 5.0.2 and Intel MPI 2021.18 (both Hydra), and
    SLURM 22.05. SLURM_NTASKS is not asked: an sbatch script's own process has it too; SLURM_STEP_NUM_TASKS is srun's.
    mpirun within a SLURM job starts its daemons by srun, so that its processes have both.

    Raises:
        WorldError: several processes were started with no way to find each other, or their number is not told.
    """
    if "HOROVOD_SIZE" in environ:
        return Launcher("horovodrun --gloo", _process_count(environ, "HOROVOD_SIZE"), None)
    if "OMPI_COMM_WORLD_SIZE" in environ:
        major = environ.get("OMPI_VERSION", "").split(".")[0]  # not told before version 5
        size = _process_count(environ, "OMPI_COMM_WORLD_SIZE")
        one_host = environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environ["OMPI_COMM_WORLD_SIZE"]
        return Launcher("mpirun", size, f"Open MPI v{major}", one_host)
    if "PMI_SIZE" in environ:
        hydra = "MPI_LOCALNRANKS" in environ
        name, mpi_version_pattern = ("mpirun", "(?!Open MPI)") if hydra else ("srun --mpi=pmi2", "")
        return Launcher(name, _process_count(environ, "PMI_SIZE"), mpi_version_pattern)
    if "SLURM_STEP_NUM_TASKS" in environ:
        size = _process_count(environ, "SLURM_STEP_NUM_TASKS")
        if "PMIX_RANK" in environ:
            return Launcher("srun --mpi=pmix", size, "", environ.get("SLURM_STEP_NUM_NODES") == "1")
        if "I_MPI_PMI_LIBRARY" in environ:  # Intel MPI then finds SLURM itself
            return Launcher("srun", size, "Intel")
        if size == 1:
            return None
        raise WorldError(
            f"Tasks of srun find each other by --mpi, but {size} were started without it: type srun --mpi=pmix, or "
            f"--mpi=pmi2 for MPICH and Intel MPI (srun --mpi=list tells what is there)."
        )
    if "PMIX_RANK" in environ:
        raise WorldError(
            "A launcher tells how many processes it starts, but there is only PMIX_RANK: start them with mpirun, "
            "horovodrun or srun, or unset PMIX_RANK where there is one."
        )
    return None


def _process_count(environ: Mapping[str, str], name: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", environ[name]):
        raise WorldError(f"{name} is the number of processes, but {environ[name]!r} was found: unset it.")
    return int(environ[name])


def _names_in(path: Path) -> set[str]:
    """Names of the parameters that a file of Open MPI sets; none where there is no file."""
    try:
        return set(re.findall(r"^\s*(\w+)\s*=", path.read_text(errors="replace"), re.MULTILINE))
    except OSError:
        return set()
