"""What each launcher leaves in the environment of the processes that it starts, as found by starting them."""

import re
from pathlib import Path

import pytest

from shardtune.errors import WorldError
from shardtune.runtime.launcher import Launcher, detect_launcher
from tests.launching import launch, run, sys

GLOO = {
    "HOROVOD_CONTROLLER": "gloo",
    "HOROVOD_CPU_OPERATIONS": "gloo",
    "HOROVOD_LOCAL_RANK": "1",
    "HOROVOD_LOCAL_SIZE": "2",
    "HOROVOD_RANK": "1",
    "HOROVOD_SIZE": "2",
}
OPEN_MPI_4 = {
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_UNIVERSE_SIZE": "2",
    "PMIX_NAMESPACE": "1478623233",
    "PMIX_RANK": "1",
}
OPEN_MPI_5 = {
    **OPEN_MPI_4,
    "OMPI_VERSION": "5.0.11",
    "OMPI_WORLD_SIZE": "2",
    "PMIX_NAMESPACE": "prterun-host-13693@1",
    "PRTE_LAUNCHED": "1",
}
HYDRA = {"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1", "PMI_FD": "9", "PMI_RANK": "1", "PMI_SIZE": "2"}
MPICH = {**HYDRA, "PMI_HOSTNAME": "host"}
INTEL_MPI = {**HYDRA, "HYDRA_LAUNCH_TYPE": "2", "I_MPI_MPIRUN": "mpirun"}
# What srun and sbatch both set, then each of them. The job of an sbatch script has tasks that nobody has started yet.
SLURM = {"SLURM_JOB_ID": "3", "SLURM_LOCALID": "0", "SLURM_NPROCS": "8", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}
SBATCH = {**SLURM, "SLURM_TASKS_PER_NODE": "4(x2)"}
SRUN = {**SLURM, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_SRUN_COMM_HOST": "127.0.0.1"}
SRUN_OF_ONE = {**SRUN, "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}
PMIX = {"PMIX_NAMESPACE": "slurm.pmix.2.0", "PMIX_RANK": "0", "SLURM_MPI_TYPE": "pmix"}
PMI2 = {"PMI_FD": "10", "PMI_JOBID": "3.0", "PMI_RANK": "0", "PMI_SIZE": "8", "SLURM_MPI_TYPE": "pmi2"}
# mpirun within a SLURM job has srun start a daemon on each node, which starts the processes.
DAEMONS_OF_MPIRUN = {**SRUN, "SLURM_NTASKS": "3", "SLURM_STEP_NUM_TASKS": "3"}

OPEN_MPI_V4, MPICH_VERSION, INTEL_VERSION = "Open MPI v4.1.8", "MPICH Version: 5.0.2", "Intel(R) MPI Library 2021.18.1"


@pytest.mark.parametrize(
    ("environ", "name", "size"),
    [
        (GLOO, "horovodrun --gloo", 2),
        (OPEN_MPI_4, "mpirun", 2),  # horovodrun --mpi is the same: it types mpirun
        (OPEN_MPI_5, "mpirun", 2),
        (MPICH, "mpirun", 2),
        (INTEL_MPI, "mpirun", 2),
        ({**SRUN, **PMIX}, "srun --mpi=pmix", 8),
        ({**SRUN, **PMI2}, "srun --mpi=pmi2", 8),
        ({**SRUN, "I_MPI_PMI_LIBRARY": "libpmi2.so"}, "srun", 8),
        # The innermost launcher counts.
        ({**SBATCH, **OPEN_MPI_4}, "mpirun", 2),
        ({**DAEMONS_OF_MPIRUN, **OPEN_MPI_4}, "mpirun", 2),
        ({**DAEMONS_OF_MPIRUN, **MPICH}, "mpirun", 2),
        ({**SBATCH, **GLOO}, "horovodrun --gloo", 2),
        ({**SRUN_OF_ONE, **PMIX, **GLOO}, "horovodrun --gloo", 2),
        # A launcher of one is a launcher.
        ({"OMPI_COMM_WORLD_SIZE": "1"}, "mpirun", 1),
        ({**SRUN_OF_ONE, **PMIX}, "srun --mpi=pmix", 1),
    ],
)
def test_the_launcher_is_found(environ: dict[str, str], name: str, size: int) -> None:
    launcher = detect_launcher(environ)
    assert launcher is not None
    assert (launcher.name, launcher.size) == (name, size)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HOME": "/root", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_MCA_btl": "^ofi", "I_MPI_PMI_LIBRARY": "libpmi2.so"},
        SBATCH,
        SRUN_OF_ONE,  # srun --pty bash
    ],
)
def test_a_process_is_alone(environ: dict[str, str]) -> None:
    assert detect_launcher(environ) is None


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (SRUN, "srun started 8 tasks without --mpi, so they cannot find each other. Use srun --mpi=pmix"),
        (
            {"PMIX_RANK": "0", "PRTE_LAUNCHED": "1"},
            "PMIX_RANK is set, but no variable gives the number of processes. Start them with mpirun",
        ),  # prterun
        ({"OMPI_COMM_WORLD_SIZE": "two"}, "OMPI_COMM_WORLD_SIZE is 'two', which is not a number of processes"),
        ({"HOROVOD_SIZE": "0"}, "HOROVOD_SIZE is '0', which is not a number of processes. Unset it"),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": ""}, "SLURM_STEP_NUM_TASKS is '', which is not a number of processes"),
    ],
)
def test_processes_that_cannot_find_each_other_are_an_error(environ: dict[str, str], message: str) -> None:
    with pytest.raises(WorldError, match=re.escape(message)):
        detect_launcher(environ)


def found(environ: dict[str, str]) -> Launcher:
    launcher = detect_launcher(environ)
    assert launcher is not None
    return launcher


@pytest.mark.parametrize(
    ("environ", "library"),
    [
        (OPEN_MPI_4, OPEN_MPI_V4),
        (OPEN_MPI_5, "Open MPI v5.0.9"),
        (MPICH, MPICH_VERSION),
        (MPICH, INTEL_VERSION),  # one launcher serves both, and its derivatives
        (INTEL_MPI, INTEL_VERSION),
        (INTEL_MPI, "MVAPICH2 Version : 2.3.7"),
        ({**SRUN, **PMIX}, OPEN_MPI_V4),
        ({**SRUN, **PMIX}, INTEL_VERSION),
        ({**SRUN, **PMI2}, MPICH_VERSION),
        ({**SRUN, "I_MPI_PMI_LIBRARY": "libpmi2.so"}, INTEL_VERSION),
    ],
)
def test_an_mpi_that_fits_its_launcher(environ: dict[str, str], library: str) -> None:
    found(environ).check_mpi(library, "mpi4py")


@pytest.mark.parametrize(
    ("environ", "library", "message"),
    [
        (OPEN_MPI_4, MPICH_VERSION, f"This mpirun does not belong to {MPICH_VERSION}, which mpi4py loads. Put the bin"),
        (OPEN_MPI_5, OPEN_MPI_V4, "This mpirun does not belong to Open MPI v4.1.8"),
        (MPICH, OPEN_MPI_V4, "This mpirun does not belong to Open MPI v4.1.8"),
        (INTEL_MPI, OPEN_MPI_V4, "This mpirun does not belong to Open MPI v4.1.8"),
        ({**SRUN, "I_MPI_PMI_LIBRARY": "libpmi2.so"}, OPEN_MPI_V4, "This srun does not belong to Open MPI v4.1.8"),
        (OPEN_MPI_4, None, "but mpi4py was built without MPI. Use horovodrun --gloo -np 2 instead"),
        (
            GLOO,
            OPEN_MPI_V4,
            "horovodrun --gloo starts processes without MPI, but this command needs MPI. Use mpirun -n 2 instead",
        ),
    ],
)
def test_an_mpi_that_does_not_fit_its_launcher(environ: dict[str, str], library: str | None, message: str) -> None:
    with pytest.raises(WorldError, match=re.escape(message)):
        found(environ).check_mpi(library, "mpi4py")


@pytest.mark.parametrize(
    ("launcher", "name"),
    [
        ("mpirun", "mpirun"),
        pytest.param("horovodrun --mpi", "mpirun", marks=pytest.mark.exhaustive),
        ("horovodrun --gloo", "horovodrun --gloo"),
    ],
)
def test_a_real_launcher_is_found(launcher: str, name: str) -> None:
    # Written in one piece, since a launcher marks, and may part, every piece.
    code = """
import os, sys
from shardtune.runtime.launcher import detect_launcher
found = detect_launcher(os.environ)
sys.stdout.write(f"{found.name} {found.size}\\n")
"""
    output = launch(["-c", code], launcher=launcher, ranks=2)
    assert output.count(f"{name} 2\n") == 2


SINGLE_NODE, TWO_NODES = {"SLURM_STEP_NUM_NODES": "1"}, {"SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize(
    ("environ", "one_host"),
    [
        (OPEN_MPI_4, True),
        (OPEN_MPI_5, True),
        ({**OPEN_MPI_4, "OMPI_COMM_WORLD_SIZE": "4"}, False),
        ({**SRUN, **PMIX, **SINGLE_NODE}, True),
        ({**SRUN, **PMIX, **TWO_NODES}, False),
        ({**SRUN, **PMIX}, False),
        # srun started mpirun's daemons, not its ranks.
        ({**DAEMONS_OF_MPIRUN, **TWO_NODES, **OPEN_MPI_4}, True),
        ({**DAEMONS_OF_MPIRUN, **SINGLE_NODE, **OPEN_MPI_4, "OMPI_COMM_WORLD_SIZE": "4"}, False),
    ],
)
def test_only_ranks_that_are_surely_on_one_host_do_without_a_network(environ: dict[str, str], one_host: bool) -> None:
    given = dict(environ)
    found(environ).set_mpi_parameters(given)
    assert given == {**environ, "OMPI_MCA_mpi_yield_when_idle": "1", **({"OMPI_MCA_btl": "^ofi"} if one_host else {})}


@pytest.mark.parametrize(
    ("environ", "file", "expected"),
    [
        ({}, "", ("1", "^ofi")),
        ({"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_mpi_yield_when_idle": "0"}, "", ("0", "self,tcp")),
        ({}, "# mine\nbtl = self,vader\nmpi_yield_when_idle=0\n", ("0", "self,vader")),
        ({}, "#btl = self\nbtl_tcp_if_include = lo\n", ("1", "^ofi")),
    ],
)
def test_open_mpi_starts_with_what_a_person_has_set_and_else_with_ours(
    environ: dict[str, str], file: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    # What Open MPI itself says of its parameters (MPI standard, chapter 15: control variables).
    code = """
import ctypes, os, sys
from shardtune.runtime.world import World
World.from_environment("mpi", os.environ)
from mpi4py import MPI
mpi, index, count, handle, value = ctypes.CDLL(MPI.__file__), ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p(), None
mpi.MPI_T_init_thread(0, ctypes.byref(index))
for name, value in (b"mpi_yield_when_idle", ctypes.c_bool()), (b"btl", ctypes.create_string_buffer(4096)):
    assert mpi.MPI_T_cvar_get_index(name, ctypes.byref(index)) == 0
    assert mpi.MPI_T_cvar_handle_alloc(index, None, ctypes.byref(handle), ctypes.byref(count)) == 0
    assert mpi.MPI_T_cvar_read(handle, ctypes.byref(value)) == 0
    sys.stdout.write(f"{name.decode()}={int(value.value) if name != b'btl' else value.value.decode()}\\n")
"""
    (tmp_path / ".openmpi").mkdir()
    (tmp_path / ".openmpi" / "mca-params.conf").write_text(file)
    done = run(
        [sys.executable, "-c", code], launcher="mpirun", ranks=1, timeout=60, environment={"HOME": str(tmp_path), **environ}
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.split() == [f"mpi_yield_when_idle={expected[0]}", f"btl={expected[1]}"]
