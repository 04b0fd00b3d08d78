"""Turn what was found into green and red lines: pure functions."""

from collections.abc import Mapping, Sequence

from shardtune.doctor.finding import Finding, ProbeResult
from shardtune.runtime.devices import count_visible_gpus

SETUP = "run launch/setup.sh and source .venv/bin/activate"
PYTHONS = ((3, 10), (3, 14))  # from, below: TensorFlow 2.21 has wheels for them
TENSORFLOWS = ((2, 18), (2, 22))  # from, below: Horovod 0.28.1 compiles with them, by the edits in launch/horovod
HOROVOD = "0.28.1"  # the newest that exists
SLOW_DISK_RATE = 30e6  # bytes per second: 500 photographs of 61 KB, a fraction of what one GPU trains on
SLOW_NETWORK_RATE = 100e6  # bytes per second: gigabit Ethernet has 125


def check_python(version: tuple[int, int, int], executable: str) -> Finding:
    fits = PYTHONS[0] <= version[:2] < PYTHONS[1]
    advice = "" if fits else "make the environment with Python 3.10 to 3.13: PYTHON=python3.12 launch/setup.sh"
    return Finding("Python", f"{'.'.join(map(str, version))} at {executable}", "sys.version_info", advice)


def check_versions(pip_check: ProbeResult) -> Finding:
    """Whether all packages of the environment fit together, by the output of `pip check`."""
    if pip_check.ok:
        return Finding("versions", "every package has what it requires", pip_check.source)
    if pip_check.status == "no pip":
        return Finding("versions", "not checked, because this Python has no pip", pip_check.source)
    return Finding("versions", pip_check.text, pip_check.source, f"{SETUP}: it installs versions that fit")


def check_tensorflow(tensorflow: ProbeResult) -> Finding:
    if not tensorflow.ok:
        return Finding("TensorFlow", tensorflow.text, tensorflow.source, f"train and eval need it: {SETUP}")
    version, cuda = tensorflow.facts["tensorflow"], tensorflow.facts["cuda"]
    fits = TENSORFLOWS[0] <= tuple(map(int, version.split(".")[:2])) < TENSORFLOWS[1]
    advice = "" if fits else f"Horovod {HOROVOD} needs TensorFlow 2.18 to 2.21: {SETUP}"
    return Finding("TensorFlow", f"{version}, built {'with' if cuda else 'without'} CUDA", tensorflow.source, advice)


def check_gpus(driver: ProbeResult | None, tensorflow: ProbeResult, visible: str | None) -> Finding:
    """Whether TensorFlow sees all GPUs.

    Args:
        driver: of nvidia-smi; None if it does not exist.
        visible: CUDA_VISIBLE_DEVICES; None if it is not set.
    """
    source = f"{driver.source if driver else 'there is no nvidia-smi'}; tf.config.list_physical_devices"
    if driver is not None and not driver.ok:
        return Finding("GPUs", driver.text, source, "repair the driver: nvidia-smi must list the GPUs")
    total = count_visible_gpus(driver.text.splitlines(), None) if driver else 0
    seen = tensorflow.facts.get("gpus", 0)
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
    if total == seen == 0:
        return Finding("GPUs", "none: training uses the cores", source)
    found = f"TensorFlow sees {seen} of {total}{hidden}"
    if seen == total or (visible is not None and (seen > 0 or visible in ("", "-1"))):
        return Finding("GPUs", found, source)
    if tensorflow.facts and not tensorflow.facts["cuda"]:
        return Finding("GPUs", found, source, "this TensorFlow is for machines without GPUs: run KIND=gpu launch/setup.sh")
    advice = "python -c 'import tensorflow' with TF_CPP_MIN_LOG_LEVEL=0 shows which library is missing"
    return Finding("GPUs", found, source, advice)


def check_horovod(horovod: ProbeResult) -> Finding:
    if not horovod.ok:
        return Finding("Horovod", horovod.text, horovod.source, f"training on several workers needs it: {SETUP}")
    facts = horovod.facts
    parts = [facts["mpi"] and f"MPI ({facts['mpi']})", facts["gloo"] and "Gloo", facts["nccl"] and "NCCL"]
    found = f"{facts['horovod']}, built with {', '.join(part for part in parts if part) or 'neither MPI nor Gloo'}"
    fits = facts["horovod"] == HOROVOD and (facts["mpi"] or facts["gloo"])
    advice = "" if fits else f"Horovod {HOROVOD} with Gloo or MPI is needed: {SETUP}"
    return Finding("Horovod", found, horovod.source, advice)


def check_nccl(horovod: ProbeResult, gpus: int) -> Finding:
    """Whether gradients go directly from GPU to GPU.

    Args:
        gpus: the number that TensorFlow sees.
    """
    has_nccl, source = horovod.facts.get("nccl", False), "hvd.nccl_built()"
    if has_nccl or not gpus:
        return Finding("NCCL", "Horovod has it" if has_nccl else "Horovod has none, and without GPUs needs none", source)
    advice = "run KIND=gpu launch/setup.sh: it builds Horovod with the NCCL that TensorFlow's packages bring"
    return Finding("NCCL", f"Horovod has none: gradients of {gpus} GPUs go through the cores", source, advice)


def check_mpi(mpi4py: ProbeResult, horovod: ProbeResult) -> Finding:
    """Whether mpi4py has an MPI, and Horovod the same one."""
    if not mpi4py.ok:
        return Finding("MPI", mpi4py.text, mpi4py.source, f"build needs mpi4py and an MPI: {SETUP}")
    library, horovod_library = mpi4py.facts["library"], horovod.facts.get("mpi")
    found = f"mpi4py {mpi4py.facts['mpi4py']} loads {library}"
    if horovod_library not in (None, library):
        advice = f"use one MPI for both: remove the other from LD_LIBRARY_PATH, or {SETUP}"
        return Finding("MPI", f"{found}, and Horovod {horovod_library}", mpi4py.source, advice)
    return Finding("MPI", found, mpi4py.source)


def check_mpirun(version: ProbeResult | None, ranks: ProbeResult | None) -> Finding:
    """Whether mpirun starts ranks that find each other.

    Args:
        version: of `mpirun --version`; None if there is no mpirun.
        ranks: of two ranks that print their numbers; None if there is no mpirun.
    """
    if version is None or ranks is None:
        advice = f"build runs on one core without it: {SETUP}, or module load your MPI"
        return Finding("mpirun", "not on the PATH", "PATH", advice)
    name = next((line for line in version.text.splitlines() if line.strip()), "").strip()
    if ranks.ok and ranks.text.split()[-2:] == ["0", "1"]:
        return Finding("mpirun", f"{name}: two ranks find each other", ranks.source)
    if ranks.status == "root refused":
        advice = "as root, export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    elif ranks.status == "timed out":
        advice = (
            "check that this host reaches itself by its name; mpirun does not work inside a task of srun: use sbatch or salloc"
        )
    else:
        advice = "put the mpirun of the MPI that mpi4py loads first on the PATH"
    return Finding("mpirun", f"{name}: {ranks.text}", ranks.source, advice)


def check_cores(allowed: int, job_cores: int, ranks: int) -> Finding:
    """Whether each rank may use its part of the cores.

    Args:
        allowed: the number of cores that this process may run on.
        job_cores: the number that its launcher may run on, which the ranks of this host share.
        ranks: the number of ranks of this host.
    """
    per_rank, source = job_cores // ranks, "os.sched_getaffinity"
    found = f"each of {ranks} rank(s) may use {allowed} of {job_cores}"
    if per_rank < 1:
        return Finding("cores", found, source, f"start at most {job_cores} on this host")
    if allowed < per_rank:
        advice = f"let each have {per_rank}: mpirun --bind-to none (Open MPI), -bind-to none (MPICH), I_MPI_PIN=0 (Intel MPI)"
        return Finding("cores", found, source, advice)
    return Finding("cores", found, source)


def check_slurm(environ: Mapping[str, str], plugins: ProbeResult | None) -> Finding:
    """Whether srun can start ranks.

    Args:
        plugins: of `srun --mpi=list`; None if there is no srun.
    """
    job = environ.get("SLURM_JOB_ID")
    where = f"job {job} on {environ.get('SLURM_JOB_NODELIST')}" if job else "in no job"
    if plugins is None:
        advice = "load the module of SLURM, to have srun on the PATH" if job else ""
        return Finding("SLURM", f"{where}, no srun", "PATH", advice)
    if not plugins.ok:
        advice = "srun must work in a job: correct SLURM_CONF or ask the administrators of the cluster" if job else ""
        return Finding("SLURM", f"{where}, and no cluster answers: {plugins.text}", plugins.source, advice)
    usable = sorted({"pmix", "pmi2"} & set(plugins.text.split()))
    advice = "" if usable else "srun cannot connect tasks here: start mpirun or horovodrun in the job instead"
    found = f"{where}, srun --mpi={' or '.join(usable)}" if usable else f"{where}, srun without pmix and pmi2"
    return Finding("SLURM", found, plugins.source, advice)


def check_disk(directory: str, write_rate: float, read_rate: float, free_bytes: int) -> Finding:
    """Whether a disk is fast enough for training. Rates in bytes per second."""
    found = f"{directory}: writes {write_rate / 1e6:.0f} MB/s, reads {read_rate / 1e6:.0f} MB/s, {free_bytes / 1e9:.0f} GB free"
    slow = min(write_rate, read_rate) < SLOW_DISK_RATE
    advice = f"under {SLOW_DISK_RATE / 1e6:.0f} MB/s training waits for the disk: keep the data set on a local one"
    return Finding("disk", found, "a temporary file", advice if slow else "")


def check_agreement(versions: Sequence[Mapping[str, str]], names: Sequence[str]) -> Finding:
    """Whether all ranks have the same versions of all packages. Arguments are in the order of ranks."""
    differences = []
    for package in versions[0]:
        ranks: dict[str, list[str]] = {}
        for rank_versions, name in zip(versions, names, strict=True):
            ranks.setdefault(rank_versions[package], []).append(name)
        if len(ranks) > 1:
            differences.append(f"{package} is " + " and ".join(f"{value} on {members[0]}" for value, members in ranks.items()))
    source = "importlib.metadata on each rank"
    if differences:
        advice = "install the same on every host: one shared .venv is the simplest"
        return Finding("agreement", "; ".join(differences), source, advice)
    return Finding("agreement", f"{len(names)} rank(s) have the same versions", source)


def check_bandwidth(size: int, bytes_reduced: int, seconds: float) -> Finding:
    """The rate of an allreduce, and its bus bandwidth as NCCL's tests define it: 2(n − 1)/n of the bytes, as a ring sends."""
    rate = bytes_reduced / seconds
    bus = rate * 2 * (size - 1) / size
    found = f"{bytes_reduced / 1e6:.0f} MB in {seconds * 1e3:.0f} ms: {rate / 1e6:.0f} MB/s, bus {bus / 1e6:.0f} MB/s"
    advice = (
        "slower than gigabit Ethernet: name the fast network (horovodrun --network-interfaces, NCCL_SOCKET_IFNAME, "
        "mpirun --mca btl_tcp_if_include)"
    )
    source = "hvd.grouped_allreduce of the network's gradients"
    return Finding("allreduce", found, source, advice if rate < SLOW_NETWORK_RATE else "")
