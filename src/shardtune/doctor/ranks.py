"""Whether the processes that a launcher started reach each other, are alike, and how fast they reduce."""

import json
import os
import platform
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shardtune.doctor import checks, host
from shardtune.doctor.finding import Finding, Reply
from shardtune.doctor.probes import of_horovod
from shardtune.errors import WorldError
from shardtune.runtime.backends import Backend
from shardtune.runtime.devices import configure_devices
from shardtune.runtime.launcher import Launcher
from shardtune.runtime.world import World

PACKAGES = ("shardtune", "tensorflow", "tensorflow-cpu", "keras", "horovod", "mpi4py", "numpy", "pillow")
GRADIENTS = (8, 3_000_000)  # tensors, float32 values in each: 96 MB, as Inception v3's gradients are
ROUNDS = 3


def examine(launcher: Launcher, environ: Mapping[str, str], directory: Path) -> tuple[World, list[Finding]]:
    """The world, and what is found about its ranks and, by one rank of each, about their hosts. On every rank.

    Of hosts other than rank 0's, only what is red is kept.

    Raises:
        WorldError: there is no world at all.
    """
    worlds, findings = connect(launcher, environ)
    if "horovod" in worlds:
        findings.append(reduce(worlds["horovod"]))
    world = next(iter(worlds.values()))
    here = socket.gethostname()
    ranks = world.allgather((here, os.sched_getaffinity(0), package_versions()))
    names = [f"rank {rank} ({name})" for rank, (name, _, _) in enumerate(ranks)]
    findings.append(checks.agreement([versions for _, _, versions in ranks], names))
    mine = []
    if world.local_rank == 0:
        together = set().union(*(cores for name, cores, _ in ranks if name == here))
        # Who started srun's tasks may use all cores, whatever the job was given.
        given = together if launcher.name.startswith("srun") else together | os.sched_getaffinity(os.getppid())
        # No process of its own for what this one has imported.
        known = {"horovod": Reply("import horovod.tensorflow", json.dumps(of_horovod()))} if "horovod" in worlds else {}
        mine = [
            *host.examine(directory, environ, known),
            checks.cores(len(os.sched_getaffinity(0)), len(given), world.local_size),
        ]
    of_rank_0, *of_others = world.allgather((here, mine))
    for one in reversed(worlds.values()):  # Horovod talks over the MPI that was there first
        one.shutdown()
    findings += of_rank_0[1]
    findings += [replace(one, topic=f"{one.topic} on {name}") for name, theirs in of_others for one in theirs if not one.ok]
    return world, findings


def connect(launcher: Launcher, environ: Mapping[str, str]) -> tuple[dict[Backend, World], list[Finding]]:
    """The worlds over MPI and over Horovod, and a finding for each. Without MPI where the launcher has none.

    Raises:
        WorldError: there is no world at all.
    """
    backends: tuple[Backend, ...] = ("horovod",) if launcher.mpi_version_pattern is None else ("mpi", "horovod")
    worlds: dict[Backend, World] = {}
    findings = []
    for backend in backends:
        how = f"{launcher.name}, {backend}"
        try:
            worlds[backend] = World.from_environment(backend, environ)
            findings.append(Finding("launcher", f"{launcher.size} rank(s)", how))
        except WorldError as error:
            findings.append(_failed("launcher", error, how))
            if backend == backends[-1] and not worlds:
                raise
    return worlds, findings


def _failed(topic: str, error: WorldError, how: str) -> Finding:
    """A red line from an error's sentence, which ends with what to do."""
    found, _, advice = str(error).rpartition(": ")
    return Finding(topic, found, how, advice)


def package_versions() -> dict[str, str]:
    """Versions that must be the same on every rank."""
    return {"Python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def reduce(world: World) -> Finding:
    """Average tensors as large as the network's gradients over all ranks: are the means right, and how fast do they come?"""
    how = "hvd.grouped_allreduce"
    problem = None
    try:
        configure_devices(world)
    except WorldError as error:
        problem = error
    for one in world.allgather(problem):  # one host without GPUs enough keeps all from reducing
        if one is not None:
            return _failed("allreduce", one, how)
    from shardtune.runtime.frameworks import tf

    count, values = GRADIENTS
    given = [tf.fill([values], float(world.rank)) for _ in range(count)]
    best = float("inf")
    for _ in range(1 + ROUNDS):  # the first one also makes the connections
        start = time.perf_counter()
        sums = world.allreduce_sum(given, "doctor")
        right = all(bool(tf.reduce_all(tf.equal(total, world.size * (world.size - 1) / 2))) for total in sums)
        best = min(best, time.perf_counter() - start)
    if not right:
        return Finding("allreduce", "the sums are wrong", how, f"Horovod must be built anew: {checks.SETUP}")
    return checks.bandwidth(world.size, 4 * count * values, best)
