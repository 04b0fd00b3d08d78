"""What started this process, read from the variables that launchers leave: the one place that looks at them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shardtune.errors import WorldError


@dataclass(frozen=True)
class Launcher:
    """Whoever started the processes of a job.

    Attributes:
        name: as a person types it.
        size: number of processes that it started.
        libraries: regular expression for the start of MPI_Get_library_version() of each MPI whose processes it can
            start; None where it starts them without MPI.
    """

    name: str
    size: int
    libraries: str | None

    def require_mpi(self, library: str | None, user: str) -> None:
        """Raise WorldError if processes that load this MPI `library` (None: no MPI) would not find each other.

        To be asked before MPI starts: there, an MPI that does not know the launcher ends the process, or is alone.
        """
        if self.libraries is None:
            raise WorldError(
                f"This command's processes talk over MPI, but {self.name} started them without one: type "
                f"mpirun -n {self.size} in its place."
            )
        if library is None:
            raise WorldError(
                f"{self.name} starts processes that talk over MPI, but {user} was built without it: type "
                f"horovodrun --gloo -np {self.size} in its place."
            )
        if not re.match(self.libraries, library):
            raise WorldError(
                f"A launcher starts processes of its own MPI, but this {self.name} is not of {library}, which {user} "
                f"loads: put that MPI's bin directory first on the PATH."
            )


def detect(environ: Mapping[str, str]) -> Launcher | None:
    """The innermost launcher, or None for a process that is alone.

    Variables as left by Horovod 0.28.1, Open MPI 4.1.8 and 5.0.11, MPICH 5.0.2 and Intel MPI 2021.18 (both Hydra), and
    SLURM 22.05. SLURM_NTASKS is not asked: an sbatch script's own process has it too; SLURM_STEP_NUM_TASKS is srun's.
    mpirun within a SLURM job starts its daemons by srun, so that its processes have both.

    Raises:
        WorldError: several processes were started with no way to find each other, or their number is not told.
    """
    if "HOROVOD_SIZE" in environ:
        return Launcher("horovodrun --gloo", _number(environ, "HOROVOD_SIZE"), None)
    if "OMPI_COMM_WORLD_SIZE" in environ:
        major = environ.get("OMPI_VERSION", "").split(".")[0]  # not told before version 5
        return Launcher("mpirun", _number(environ, "OMPI_COMM_WORLD_SIZE"), f"Open MPI v{major}")
    if "PMI_SIZE" in environ:
        hydra = "MPI_LOCALNRANKS" in environ
        name, libraries = ("mpirun", "(?!Open MPI)") if hydra else ("srun --mpi=pmi2", "")
        return Launcher(name, _number(environ, "PMI_SIZE"), libraries)
    if "SLURM_STEP_NUM_TASKS" in environ:
        size = _number(environ, "SLURM_STEP_NUM_TASKS")
        if "PMIX_RANK" in environ:
            return Launcher("srun --mpi=pmix", size, "")
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


def _number(environ: Mapping[str, str], name: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", environ[name]):
        raise WorldError(f"{name} is the number of processes, but {environ[name]!r} was found: unset it.")
    return int(environ[name])
