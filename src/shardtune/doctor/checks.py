"""From what was found to green and red lines: pure functions."""

from collections.abc import Mapping, Sequence

from shardtune.doctor.finding import Finding, Reply

SETUP = "run launch/setup.sh and source .venv/bin/activate"
PYTHONS = ((3, 10), (3, 13))  # from, below: for which TensorFlow 2.18 has wheels and Horovod 0.28.1 compiles
TENSORFLOW = "2.18."  # the newest that Horovod 0.28.1 compiles against
HOROVOD = "0.28.1"  # the newest there is
SLOW_DISK = 30e6  # bytes per second: 500 photographs of 61 KB, a fraction of what one GPU trains on
SLOW_NETWORK = 100e6  # bytes per second: gigabit Ethernet has 125


def python(version: tuple[int, int, int], executable: str) -> Finding:
    fits = PYTHONS[0] <= version[:2] < PYTHONS[1]
    advice = "" if fits else "make the environment with Python 3.10, 3.11 or 3.12: PYTHON=python3.12 launch/setup.sh"
    return Finding("Python", f"{'.'.join(map(str, version))} at {executable}", "sys.version_info", advice)


def versions(reply: Reply) -> Finding:
    """`pip check` over the whole environment."""
    if reply.well:
        return Finding("versions", "every package has what it requires", reply.how)
    if "No module named pip" in reply.text:
        return Finding("versions", "not checked, for there is no pip here", reply.how)
    return Finding("versions", reply.text, reply.how, f"{SETUP}: it installs versions that fit")


def tensorflow(reply: Reply) -> Finding:
    if not reply.well:
        return Finding("TensorFlow", reply.text, reply.how, f"train and eval need it: {SETUP}")
    version, cuda = reply.facts["tensorflow"], reply.facts["cuda"]
    fits = version.startswith(TENSORFLOW)
    advice = "" if fits else f"Horovod {HOROVOD} goes with TensorFlow {TENSORFLOW}x: {SETUP}"
    return Finding("TensorFlow", f"{version}, built {'with' if cuda else 'without'} CUDA", reply.how, advice)


def gpus(driver: Reply | None, tensorflow: Reply, visible: str | None) -> Finding:
    """`driver` is what nvidia-smi says (None: there is none), `visible` CUDA_VISIBLE_DEVICES."""
    how = f"{driver.how if driver else 'nvidia-smi is not there'}; tf.config.list_physical_devices"
    if driver is not None and not driver.well:
        return Finding("GPUs", driver.text, how, "mend the driver: nvidia-smi must list the GPUs")
    there = len(driver.text.splitlines()) if driver else 0
    seen = tensorflow.facts.get("gpus", 0)
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
    if there == seen == 0:
        return Finding("GPUs", "none: training takes the cores", how)
    found = f"TensorFlow sees {seen} of {there}{hidden}"
    if seen == there or (visible is not None and (seen > 0 or visible in ("", "-1"))):
        return Finding("GPUs", found, how)
    if tensorflow.facts and not tensorflow.facts["cuda"]:
        return Finding("GPUs", found, how, f"this TensorFlow is for machines without GPUs: {SETUP} on this one")
    return Finding("GPUs", found, how, "python -c 'import tensorflow' with TF_CPP_MIN_LOG_LEVEL=0 says which library it misses")


def horovod(reply: Reply) -> Finding:
    if not reply.well:
        return Finding("Horovod", reply.text, reply.how, f"training on several workers needs it: {SETUP}")
    facts = reply.facts
    parts = [facts["mpi"] and f"MPI ({facts['mpi']})", facts["gloo"] and "Gloo", facts["nccl"] and "NCCL"]
    found = f"{facts['horovod']}, built with {', '.join(part for part in parts if part) or 'nothing to talk over'}"
    fits = facts["horovod"] == HOROVOD and (facts["mpi"] or facts["gloo"])
    return Finding("Horovod", found, reply.how, "" if fits else f"Horovod {HOROVOD} with Gloo or MPI is needed: {SETUP}")


def nccl(horovod: Reply, gpus: int) -> Finding:
    """Whether gradients go from GPU to GPU; `gpus` are those that TensorFlow sees."""
    built, how = horovod.facts.get("nccl", False), "hvd.nccl_built()"
    if built or not gpus:
        return Finding("NCCL", "Horovod has it" if built else "not there, and without GPUs not needed", how)
    advice = "install NCCL's headers and nvcc, set HOROVOD_NCCL_HOME if they are not in /usr, and run launch/setup.sh"
    return Finding("NCCL", f"Horovod has none: gradients of {gpus} GPUs go through the cores", how, advice)


def mpi(mpi4py: Reply, horovod: Reply) -> Finding:
    if not mpi4py.well:
        return Finding("MPI", mpi4py.text, mpi4py.how, f"build needs mpi4py and an MPI: {SETUP}")
    library, others = mpi4py.facts["library"], horovod.facts.get("mpi")
    found = f"mpi4py {mpi4py.facts['mpi4py']} loads {library}"
    if others not in (None, library):
        advice = f"one MPI for both: take the other from LD_LIBRARY_PATH, or {SETUP}"
        return Finding("MPI", f"{found}, and Horovod {others}", mpi4py.how, advice)
    return Finding("MPI", found, mpi4py.how)


def mpirun(version: Reply | None, hello: Reply | None) -> Finding:
    """`hello`: two ranks that greet each other; both are None where there is no mpirun."""
    if version is None or hello is None:
        return Finding(
            "mpirun", "not on the PATH", "PATH", f"build runs on one core without it: {SETUP}, or module load your MPI"
        )
    name = next((line for line in version.text.splitlines() if line.strip()), "").strip()
    if hello.well and hello.text.split()[-2:] == ["0", "1"]:
        return Finding("mpirun", f"{name}: two ranks greet each other", hello.how)
    if "as root" in hello.text:
        advice = "as root, export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    elif "no answer" in hello.text:
        advice = (
            "see that this host reaches itself by its name; in a task of srun, mpirun waits for it to end: use sbatch or salloc"
        )
    else:
        advice = "put the mpirun of the MPI that mpi4py loads first on the PATH"
    return Finding("mpirun", f"{name}: {hello.text}", hello.how, advice)


def cores(allowed: int, of_launcher: int, ranks: int) -> Finding:
    """Cores that this process may run on, its launcher may, and the ranks that share those."""
    share, how = of_launcher // ranks, "os.sched_getaffinity"
    found = f"each of {ranks} rank(s) may use {allowed} of {of_launcher}"
    if share < 1:
        return Finding("cores", found, how, f"start at most {of_launcher} on this host")
    if allowed < share:
        advice = f"let each have {share}: mpirun --bind-to none (Open MPI), -bind-to none (MPICH), I_MPI_PIN=0 (Intel MPI)"
        return Finding("cores", found, how, advice)
    return Finding("cores", found, how)


def slurm(environ: Mapping[str, str], plugins: Reply | None) -> Finding:
    """`plugins` is what `srun --mpi=list` says, None where there is no srun."""
    job = environ.get("SLURM_JOB_ID")
    where = f"job {job} on {environ.get('SLURM_JOB_NODELIST')}" if job else "in no job"
    if plugins is None:
        advice = "load the module of SLURM, to have srun on the PATH" if job else ""
        return Finding("SLURM", f"{where}, no srun", "PATH", advice)
    if not plugins.well:
        advice = "srun must answer in a job: mend SLURM_CONF or ask those who run the cluster" if job else ""
        return Finding("SLURM", f"{where}, and no cluster answers: {plugins.text}", plugins.how, advice)
    joining = sorted({"pmix", "pmi2"} & set(plugins.text.split()))
    advice = "" if joining else "srun cannot join tasks here: start mpirun or horovodrun in the job instead"
    return Finding("SLURM", f"{where}, srun --mpi={' or '.join(joining) or '… joins nothing'}", plugins.how, advice)


def disk(directory: str, write: float, read: float, free: int) -> Finding:
    """`write` and `read` in bytes per second, `free` in bytes."""
    found = f"{directory}: writes {write / 1e6:.0f} MB/s, reads {read / 1e6:.0f} MB/s, {free / 1e9:.0f} GB free"
    slow = min(write, read) < SLOW_DISK
    advice = f"under {SLOW_DISK / 1e6:.0f} MB/s the disk is what training waits for: keep the data set on a local one"
    return Finding("disk", found, "a temporary file", advice if slow else "")


def agreement(identities: Sequence[Mapping[str, str]], names: Sequence[str]) -> Finding:
    """Whether all ranks have the same versions: `identities` and `names` in rank order."""
    wrong = []
    for key in identities[0]:
        ranks: dict[str, list[str]] = {}
        for package_versions, name in zip(identities, names, strict=True):
            ranks.setdefault(package_versions[key], []).append(name)
        if len(ranks) > 1:
            wrong.append(f"{key} is " + " and ".join(f"{value} on {members[0]}" for value, members in ranks.items()))
    how = "importlib.metadata on each rank"
    if wrong:
        return Finding("agreement", "; ".join(wrong), how, "install the same on every host: one shared .venv is the simplest")
    return Finding("agreement", f"{len(names)} rank(s) have the same versions", how)


def bandwidth(size: int, bytes_reduced: int, seconds: float) -> Finding:
    """An allreduce's rate, and its bus bandwidth as NCCL's tests define it: 2(n − 1)/n of the bytes, as a ring sends."""
    rate = bytes_reduced / seconds
    bus = rate * 2 * (size - 1) / size
    found = f"{bytes_reduced / 1e6:.0f} MB in {seconds * 1e3:.0f} ms: {rate / 1e6:.0f} MB/s, bus {bus / 1e6:.0f} MB/s"
    advice = (
        "slower than gigabit Ethernet: name the fast network (horovodrun --network-interfaces, NCCL_SOCKET_IFNAME, "
        "mpirun --mca btl_tcp_if_include)"
    )
    return Finding(
        "allreduce", found, "hvd.grouped_allreduce of the network's gradients", advice if rate < SLOW_NETWORK else ""
    )
