"""The conclusions of the doctor, as tables."""

import json
import re
from typing import Any

import pytest

from shardtune.doctor import checks
from shardtune.doctor.finding import Finding, ProbeResult

SOURCE = "command"
MISSING = ProbeResult(SOURCE, "ModuleNotFoundError: No module named 'it'", "failed")
V4 = "Open MPI v4.1.8"


def output(**facts: Any) -> ProbeResult:
    return ProbeResult(SOURCE, f"a warning before it\n{json.dumps(facts)}")


def frameworks(**changes: Any) -> ProbeResult:
    """What importing TensorFlow and Horovod finds on a sound machine, with these changes."""
    facts = {"tensorflow": "2.18.1", "cuda": False, "gpus": 0, "horovod": "0.28.1", "mpi": V4, "gloo": True, "nccl": False}
    return output(**{**facts, **changes})


def driver(gpus: int) -> ProbeResult:
    return ProbeResult("nvidia-smi -L", "\n".join(f"GPU {i}: NVIDIA H100 (UUID: GPU-{i})" for i in range(gpus)))


MPI4PY = output(mpi4py="4.1.2", library=V4)
MPIRUN = ProbeResult("mpirun --version", "mpirun (Open MPI) 4.1.8\n\nReport bugs to …")
TWO_RANKS = ProbeResult("mpirun -n 2", "0 1")
ROOT = ProbeResult("mpirun -n 2", "mpirun has detected an attempt to run as root.", "root refused")
OTHER_MPI = ProbeResult("mpirun -n 2", "WorldError: This mpirun does not belong to Open MPI v4.1.8", "failed")
PLUGINS = ProbeResult(
    "srun --mpi=list", "MPI plugin types are...\n\tnone\n\tpmix\n\tpmi2\nspecific pmix plugin versions available: pmix_v4"
)
NO_CLUSTER = ProbeResult("srun --mpi=list", "srun: fatal: Could not establish a configuration source", "failed")
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"}


@pytest.mark.parametrize(
    ("finding", "found"),
    [
        (checks.check_python((3, 10, 0), "/bin/python"), "3.10.0 at /bin/python"),
        (checks.check_python((3, 13, 9), "/bin/python"), "3.13.9"),
        (checks.check_versions(ProbeResult(SOURCE, "No broken requirements found.")), "every package has what it requires"),
        (checks.check_versions(ProbeResult(SOURCE, "/bin/python: No module named pip", "no pip")), "not checked"),
        (checks.check_tensorflow(frameworks()), "2.18.1, built without CUDA"),
        (checks.check_tensorflow(frameworks(tensorflow="2.21.0", cuda=True)), "2.21.0, built with CUDA"),
        (checks.check_gpus(None, frameworks(), None), "none: training uses the cores"),
        (checks.check_gpus(None, MISSING, None), "none"),
        (checks.check_gpus(driver(8), frameworks(cuda=True, gpus=8), None), "sees 8 of 8"),
        (checks.check_gpus(driver(8), frameworks(cuda=True, gpus=2), "0,1"), r"2 of 8 \(CUDA_VISIBLE_DEVICES=0,1\)"),
        (checks.check_gpus(driver(8), frameworks(cuda=True, gpus=0), ""), r"0 of 8 \(CUDA_VISIBLE_DEVICES=\)"),
        (checks.check_gpus(driver(8), frameworks(cuda=True, gpus=0), "-1"), r"0 of 8 \(CUDA_VISIBLE_DEVICES=-1\)"),
        (checks.check_horovod(frameworks()), rf"0.28.1, built with MPI \({V4}\), Gloo$"),
        (checks.check_horovod(frameworks(mpi=None, nccl=True)), r"0.28.1, built with Gloo, NCCL$"),
        (checks.check_nccl(frameworks(), 0), "without GPUs needs none"),
        (checks.check_nccl(frameworks(nccl=True), 8), "Horovod has it"),
        (checks.check_mpi(MPI4PY, frameworks()), f"mpi4py 4.1.2 loads {V4}$"),
        (checks.check_mpi(MPI4PY, frameworks(mpi=None)), f"loads {V4}$"),
        (checks.check_mpi(MPI4PY, MISSING), f"loads {V4}$"),
        (checks.check_mpirun(MPIRUN, TWO_RANKS), r"^mpirun \(Open MPI\) 4.1.8: two ranks find each other"),
        (checks.check_cores(1, 2, 2), "each of 2 .* 1 of 2"),
        (checks.check_cores(16, 64, 4), "16 of 64"),
        (checks.check_cores(64, 64, 4), "64 of 64"),  # unbound
        (checks.check_cores(21, 64, 3), "21 of 64"),
        (checks.check_slurm({}, None), "in no job, no srun"),
        (checks.check_slurm({}, NO_CLUSTER), "no cluster answers: srun: fatal"),
        (checks.check_slurm(JOB, PLUGINS), r"job 7 on n\[1-2\], srun --mpi=pmi2 or pmix"),
        (checks.check_disk("/data", 40e6, 1.5e9, 3 * 10**9), "/data: writes 40 MB/s, reads 1500 MB/s, 3 GB free"),
        (checks.check_agreement([{"Python": "3.11"}] * 3, ["a", "b", "c"]), r"3 rank\(s\) have the same"),
        (checks.check_bandwidth(4, 96_000_000, 0.1), "96 MB in 100 ms: 960 MB/s, bus 1440 MB/s"),
    ],
)
def test_a_green_line(finding: Finding, found: str) -> None:
    assert finding.ok, finding
    assert re.search(found, finding.found)
    assert finding.source


@pytest.mark.parametrize(
    ("finding", "found", "advice"),
    [
        (checks.check_python((3, 9, 18), "python"), "3.9.18", "PYTHON=python3.12 launch/setup.sh"),
        (checks.check_python((3, 14, 0), "python"), "3.14.0", "launch/setup.sh"),
        (checks.check_versions(ProbeResult(SOURCE, "x 1 has requirement y<2", "failed")), "requirement y<2", "launch/setup.sh"),
        (checks.check_tensorflow(MISSING), "No module named 'it'", "launch/setup.sh"),
        (checks.check_tensorflow(frameworks(tensorflow="2.17.1")), "2.17.1", "TensorFlow 2.18 to 2.21"),
        (checks.check_tensorflow(frameworks(tensorflow="2.22.0-rc1")), "2.22.0-rc1", "TensorFlow 2.18 to 2.21"),
        (checks.check_gpus(MISSING, frameworks(), None), "No module", "nvidia-smi must list the GPUs"),
        (checks.check_gpus(driver(8), frameworks(), None), "0 of 8", "KIND=gpu launch/setup.sh"),
        (checks.check_gpus(driver(8), frameworks(cuda=True), None), "0 of 8", "which library is missing"),
        (checks.check_gpus(driver(8), frameworks(cuda=True), "0,1"), "0 of 8", "which library is missing"),
        (checks.check_gpus(driver(8), frameworks(cuda=True, gpus=7), None), "7 of 8", "which library is missing"),
        (checks.check_gpus(driver(8), MISSING, None), "0 of 8", "import tensorflow"),
        (checks.check_horovod(MISSING), "No module named 'it'", "launch/setup.sh"),
        (checks.check_horovod(frameworks(horovod="0.27.0")), "0.27.0", "Horovod 0.28.1"),
        (checks.check_horovod(frameworks(mpi=None, gloo=False)), "neither MPI nor Gloo", "Gloo or MPI"),
        (checks.check_nccl(frameworks(), 8), "gradients of 8 GPUs go through the cores", "KIND=gpu launch/setup.sh"),
        (checks.check_nccl(MISSING, 8), "Horovod has none", "KIND=gpu launch/setup.sh"),
        (checks.check_mpi(MISSING, frameworks()), "No module", "mpi4py"),
        (checks.check_mpi(MPI4PY, frameworks(mpi="MPICH Version: 5.0.2")), f"{V4}, and Horovod MPICH", "one MPI for both"),
        (checks.check_mpirun(None, None), "not on the PATH", "module load"),
        (checks.check_mpirun(MPIRUN, ROOT), "4.1.8: mpirun has detected", "OMPI_ALLOW_RUN_AS_ROOT=1"),
        (checks.check_mpirun(MPIRUN, OTHER_MPI), "does not belong to Open MPI", "first on the PATH"),
        (checks.check_mpirun(MPIRUN, ProbeResult(SOURCE, "no answer in 20 s", "timed out")), "no answer", "sbatch or salloc"),
        (checks.check_mpirun(MPIRUN, ProbeResult(SOURCE, "0\n0")), "0\n0", "first on the PATH"),  # two worlds of one
        (checks.check_cores(2, 2, 3), "each of 3 .* 2 of 2", "at most 2 on this host"),
        (checks.check_cores(1, 64, 2), "1 of 64", "each have 32: mpirun --bind-to none"),
        (checks.check_slurm(JOB, None), "no srun", "module"),
        (checks.check_slurm(JOB, NO_CLUSTER), "no cluster answers", "SLURM_CONF"),
        (
            checks.check_slurm({}, ProbeResult(SOURCE, "MPI plugin types are...\n\tnone")),
            "without pmix and pmi2",
            "mpirun or horovodrun",
        ),
        (checks.check_disk("/data", 500e6, 29e6, 10**9), "reads 29 MB/s", "under 30 MB/s"),
        (checks.check_disk("/data", 1e6, 500e6, 10**9), "writes 1 MB/s", "a local one"),
        (
            checks.check_agreement([{"a": "1", "b": "2"}, {"a": "1", "b": "2"}, {"a": "1", "b": "3"}], ["r0", "r1", "r2"]),
            "^b is 2 on r0 and 3 on r2$",
            "the same on every host",
        ),
        (checks.check_bandwidth(2, 96_000_000, 1), "96 MB/s", "horovodrun --network-interfaces"),
    ],
)
def test_a_red_line_says_what_to_do(finding: Finding, found: str, advice: str) -> None:
    assert not finding.ok, finding
    assert re.search(found, finding.found)
    assert advice in finding.advice
    assert finding.source
