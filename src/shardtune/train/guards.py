"""What must be equal on all ranks for their sum to mean anything."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from shardtune.config import TrainConfig, as_json
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.errors import DataError, TrainingError, UsageError, WorldError
from shardtune.world import World

PACKAGES = ("shardtune", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy")


def require_agreement(config: TrainConfig, world: World) -> None:
    """Check that all ranks have the same flags, data set, package versions, and size of the world.

    Raises:
        UsageError, DataError, WorldError: they have not; the first difference is named, on every rank.
    """
    flags = world.gather(as_json(config))
    for rank, theirs in enumerate(flags):
        for name, value in theirs.items():
            if value != flags[0][name]:
                raise UsageError(
                    f"All ranks run with the same flags, but {name} is {flags[0][name]} on rank 0 and {value} on rank {rank}: "
                    f"start all with one command."
                )
    manifests = world.gather((world.name, _digest(config.data_dir / MANIFEST_NAME)))
    for name, digest in manifests:
        if digest != manifests[0][1]:
            raise DataError(
                f"All ranks read the same data set, but {MANIFEST_NAME} in {config.data_dir} differs on {name}: "
                f"share the directory, or copy it anew."
            )
    software = world.gather((world.name, {**versions(), "world size": str(world.size)}))
    for name, theirs in software:
        for part, value in theirs.items():
            if value != software[0][1][part]:
                raise WorldError(
                    f"All ranks run the same software, but {part} is {software[0][1][part]} on rank 0 and {value} on {name}: "
                    f"give all hosts the same environment."
                )


def versions() -> dict[str, str]:
    """Python and the packages that decide what a step computes, with their versions; "none" for those not installed."""
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def require_equal(world: World, variables: dict[str, Any]) -> None:
    """Compare checksums of `variables` over all ranks.

    Raises:
        TrainingError: one differs; it is named.
    """
    mine = [xxhash.xxh3_64_intdigest(np.ascontiguousarray(variable.numpy()).data) for variable in variables.values()]
    for rank, theirs in enumerate(world.gather(mine)):
        differing = [name for name, a, b in zip(variables, mine, theirs, strict=True) if a != b]
        if differing:
            raise TrainingError(
                f"All ranks hold equal weights, but {differing[0]} differs between rank {world.rank} and rank {rank}: start "
                f"the run again from its last checkpoint."
            )
