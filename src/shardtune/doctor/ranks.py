"""Check the processes that a launcher started: whether they reach each other, have the same versions, and reduce fast."""

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from shardtune.doctor import checks, host
from shardtune.doctor.finding import Finding, ProbeResult
from shardtune.doctor.probes import horovod_facts
from shardtune.errors import WorldError
from shardtune.runtime.backends import Backend
from shardtune.runtime.devices import configure_devices
from shardtune.runtime.launcher import Launcher
from shardtune.runtime.versions import package_versions
from shardtune.runtime.world import World

GRADIENTS = (8, 3_000_000)  # tensors, float32 values in each: 96 MB, like the gradients of Inception v3
ROUNDS = 3


def check_ranks(launcher: Launcher, environ: Mapping[str, str], directory: Path) -> tuple[World, list[Finding]]:
    """The world, and on every rank the findings about the ranks and their hosts. One rank of each host checks the host.

    Of other hosts than that of rank 0, only red lines are kept.

    Raises:
        WorldError: no backend connects the processes.
    """
    worlds, findings = connect(launcher, environ)
    if "horovod" in worlds:
        findings.append(measure_allreduce(worlds["horovod"]))
    world = next(iter(worlds.values()))
    hostname = socket.gethostname()
    ranks = world.allgather((hostname, os.sched_getaffinity(0), package_versions()))
    names = [f"rank {rank} ({name})" for rank, (name, _, _) in enumerate(ranks)]
    findings.append(checks.check_agreement([versions for _, _, versions in ranks], names))
    host_findings = []
    if world.local_rank == 0:
        host_cores = set().union(*(cores for name, cores, _ in ranks if name == hostname))
        # The parent of srun's tasks may use all cores of the host, also those that the job does not have.
        job_cores = host_cores if launcher.name.startswith("srun") else host_cores | os.sched_getaffinity(os.getppid())
        known = {}
        # This process has imported it, so no other one needs to; a world of one may do without.
        if "horovod" in worlds and world.size > 1:
            known["horovod"] = ProbeResult("import horovod.tensorflow", json.dumps(horovod_facts()))
        host_findings = [
            *host.check_host(directory, environ, known),
            checks.check_cores(len(os.sched_getaffinity(0)), len(job_cores), world.local_size),
        ]
    of_rank_0, *of_others = world.allgather((hostname, host_findings))
    for each in reversed(worlds.values()):  # Horovod uses the MPI that was started first
        each.shutdown()
    findings += of_rank_0[1]
    findings += [replace(one, topic=f"{one.topic} on {name}") for name, others in of_others for one in others if not one.ok]
    return world, findings


def connect(launcher: Launcher, environ: Mapping[str, str]) -> tuple[dict[Backend, World], list[Finding]]:
    """The worlds over MPI, if the launcher has one, and over Horovod, and a finding for each.

    Raises:
        WorldError: no backend connects the processes.
    """
    backends: tuple[Backend, ...] = ("horovod",) if launcher.mpi_version_pattern is None else ("mpi", "horovod")
    worlds: dict[Backend, World] = {}
    findings = []
    for backend in backends:
        source = f"{launcher.name}, {backend}"
        try:
            worlds[backend] = World.from_environment(backend, environ)
            findings.append(Finding("launcher", f"{launcher.size} rank(s)", source))
        except WorldError as error:
            findings.append(Finding("launcher", error.message, source, error.advice))
            if backend == backends[-1] and not worlds:
                raise
    return worlds, findings


def measure_allreduce(world: World) -> Finding:
    """Add tensors as large as the network's gradients over all ranks: whether the sums are right, and how long that takes."""
    source = "hvd.grouped_allreduce"
    try:
        configure_devices(world)
    except WorldError as error:
        return Finding("allreduce", error.message, source, error.advice)
    from shardtune.runtime.frameworks import tf

    count, values = GRADIENTS
    gradients = [tf.fill([values], float(world.rank)) for _ in range(count)]
    best_seconds = float("inf")
    for _ in range(1 + ROUNDS):  # the first round also makes the connections
        start = time.perf_counter()
        sums = world.allreduce_sum(gradients, "doctor")
        right = all(bool(tf.reduce_all(tf.equal(total, world.size * (world.size - 1) / 2))) for total in sums)
        best_seconds = min(best_seconds, time.perf_counter() - start)
    if not right:
        return Finding("allreduce", "the sums are wrong", source, f"Horovod must be built again: {checks.SETUP}")
    return checks.check_bandwidth(world.size, 4 * count * values, best_seconds)
