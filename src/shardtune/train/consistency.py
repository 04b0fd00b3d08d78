"""Check what must be equal on all ranks for their sum to mean anything."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from shardtune.config import to_json_dict
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.errors import DataError, TrainingError, UsageError, WorldError
from shardtune.runtime.devices import uses_gpu
from shardtune.runtime.versions import package_versions
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig

STEP_PACKAGES = ("shardtune", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy")  # what decides what a step computes


@dataclass(frozen=True)
class RankFingerprint:
    """What a rank works with.

    Attributes:
        data_digest: SHA-256 of the manifest; None where there is none.
        environment: versions of packages, the size of the world, and whether the rank has a GPU, by name.
    """

    rank_name: str
    flags: dict[str, Any]
    data_digest: str | None
    environment: dict[str, str]


def check_ranks_agree(config: TrainConfig, world: World) -> None:
    """Check that all ranks have the same flags, data set and environment.

    On a GPU gradients are packed differently than on cores, so that ranks of both kinds would wait for each other for ever.

    Raises:
        UsageError, DataError, WorldError: they differ; rank 0 names the first difference.
    """
    local = RankFingerprint(
        rank_name=world.name,
        flags=to_json_dict(config),
        data_digest=_digest(config.data_dir / MANIFEST_NAME),
        environment={
            **package_versions(STEP_PACKAGES),
            "world size": str(world.size),
            "device": "a GPU" if uses_gpu() else "cores",
        },
    )
    fingerprints = world.allgather(local)

    def compare() -> None:
        for remote in fingerprints:
            _check_equal(config, fingerprints[0], remote)

    world.run_on_root(compare)


def _check_equal(config: TrainConfig, root: RankFingerprint, remote: RankFingerprint) -> None:
    for flag, value in remote.flags.items():
        if value != root.flags[flag]:
            raise UsageError(
                f"The ranks have different flags: {flag} is {root.flags[flag]} on rank 0 and {value} on {remote.rank_name}.",
                "Start all ranks with one command.",
            )
    if remote.data_digest != root.data_digest:
        raise DataError(
            f"The ranks have different data sets: {MANIFEST_NAME} in {config.data_dir} differs on {remote.rank_name}.",
            "Share the directory, or copy it again.",
        )
    for name, version in remote.environment.items():
        if version != root.environment[name]:
            raise WorldError(
                f"The ranks differ: {name} is {root.environment[name]} on rank 0 and {version} on {remote.rank_name}.",
                "Give all hosts the same environment.",
            )


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def check_equal_weights(world: World, tensors: Mapping[str, Any]) -> None:
    """Compare checksums of `tensors`, which are arrays or variables, over all ranks.

    Raises:
        TrainingError: some differ; rank 0 names the first.
    """
    local = [xxhash.xxh3_64_intdigest(np.ascontiguousarray(tensor).data) for tensor in tensors.values()]
    checksums = world.allgather((world.name, local))
    world.run_on_root(lambda: _check_equal_checksums(list(tensors), checksums))


def _check_equal_checksums(names: list[str], checksums: list[tuple[str, list[int]]]) -> None:
    _, root = checksums[0]
    for rank_name, remote in checksums:
        differing = [name for name, a, b in zip(names, root, remote, strict=True) if a != b]
        if differing:
            raise TrainingError(
                f"The weights differ between rank 0 and {rank_name}: {len(differing)} variable(s), first {differing[0]}.",
                "Run the same command again to resume from the last checkpoint.",
            )
