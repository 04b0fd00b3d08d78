"""Which launcher started this process, from the environment variables that launchers set. The only module that reads them."""

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from shardtune.errors import WorldError

OPEN_MPI_FILE = Path(".openmpi/mca-params.conf")  # below the home directory: a user's own parameters


@dataclass(frozen=True)
class Launcher:
    """The program that started the processes of a job.

    Attributes:
        name: its command.
        size: the number of processes that it started.
        mpi_version_pattern: a regular expression that matches the start of MPI_Get_library_version() for each MPI whose
            processes it can start; None if it starts processes without MPI.
        one_host: whether its variables show that all processes are on one host.
    """

    name: str
    size: int
    mpi_version_pattern: str | None
    one_host: bool = False

    def check_mpi(self, version: str | None, used_by: str) -> None:
        """Check that processes with this MPI find each other. To be called before MPI starts: an MPI that does not know the
        launcher ends the process, or starts a world of one.

        Args:
            version: what MPI_Get_library_version() returns; None: without MPI.
            used_by: the package that loads it.

        Raises:
            WorldError: they would not find each other.
        """
        if self.mpi_version_pattern is None:
            raise WorldError(
                f"{self.name} starts processes without MPI, but this command needs MPI.",
                f"Use mpirun -n {self.size} instead.",
            )
        if version is None:
            raise WorldError(
                f"{self.name} starts processes that use MPI, but {used_by} was built without MPI.",
                f"Use horovodrun --gloo -np {self.size} instead.",
            )
        if not re.match(self.mpi_version_pattern, version):
            raise WorldError(
                f"This {self.name} does not belong to {version}, which {used_by} loads.",
                "Put the bin directory of that MPI first on the PATH.",
            )

    def set_mpi_parameters(self, environ: MutableMapping[str, str]) -> None:
        """Add parameters for Open MPI to `environ`, unless the user has set them there or in a file.

        Open MPI reads them when it starts.
        """
        parameters = {"mpi_yield_when_idle": "1"}  # a waiting rank leaves its core to others
        if self.one_host:
            # This component serves one-sided communication between hosts, and sleeps for a second when it closes.
            parameters["btl"] = "^ofi"
        for name in parameters.keys() - _parameter_names(Path(environ.get("HOME", "/")) / OPEN_MPI_FILE):
            environ.setdefault(f"OMPI_MCA_{name}", parameters[name])


def detect_launcher(environ: Mapping[str, str]) -> Launcher | None:
    """The innermost launcher; None for a process that was started without one.

    The variables are those of Horovod 0.28.1, Open MPI 4.1.8 and 5.0.11, MPICH 5.0.2 and Intel MPI 2021.18 (both Hydra), and
    SLURM 22.05. SLURM_STEP_NUM_TASKS is set by srun; SLURM_NTASKS is not used, because the process of an sbatch script has it
    too. In a SLURM job mpirun starts its daemons with srun, so its processes have the variables of both.

    Raises:
        WorldError: the processes have no means to find each other, or their number is unknown or no number.
    """
    if "HOROVOD_SIZE" in environ:
        return Launcher("horovodrun --gloo", _process_count(environ, "HOROVOD_SIZE"), None)
    if "OMPI_COMM_WORLD_SIZE" in environ:
        major = environ.get("OMPI_VERSION", "").split(".")[0]  # unknown before version 5
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
            f"srun started {size} tasks without --mpi, so they cannot find each other.",
            "Use srun --mpi=pmix, or --mpi=pmi2 for MPICH and Intel MPI; srun --mpi=list shows what is available.",
        )
    if "PMIX_RANK" in environ:
        raise WorldError(
            "PMIX_RANK is set, but no variable gives the number of processes.",
            "Start them with mpirun, horovodrun or srun, or unset PMIX_RANK if this process is the only one.",
        )
    return None


def _process_count(environ: Mapping[str, str], name: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", environ[name]):
        raise WorldError(f"{name} is {environ[name]!r}, which is not a number of processes.", "Unset it.")
    return int(environ[name])


def _parameter_names(path: Path) -> set[str]:
    """The names of the parameters that a file of Open MPI sets; empty if there is no file."""
    try:
        return set(re.findall(r"^\s*(\w+)\s*=", path.read_text(errors="replace"), re.MULTILINE))
    except OSError:
        return set()
