"""What must be equal on all ranks for their sum to mean anything."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from shardtune.config import to_json_dict
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.errors import DataError, TrainingError, UsageError, WorldError
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig

RankFingerprint = tuple[dict[str, Any], str | None, dict[str, str]]  # flags, digest of the data, versions
PACKAGES = ("shardtune", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy")


def check_ranks_agree(config: TrainConfig, world: World) -> None:
    """Check that all ranks have the same flags, data set, package versions, and size of the world.

    Raises:
        UsageError, DataError, WorldError: they have not; the first difference is named, by rank 0.
    """
    mine = (to_json_dict(config), _digest(config.data_dir / MANIFEST_NAME), {**versions(), "world size": str(world.size)})
    names, all_of_them = world.allgather(world.name), world.allgather(mine)

    def compare() -> None:
        for name, theirs in zip(names, all_of_them, strict=True):
            _require_same(config, name, all_of_them[0], theirs)

    world.run_on_root(compare)


def _require_same(config: TrainConfig, name: str, root: RankFingerprint, other: RankFingerprint) -> None:
    for flag, value in other[0].items():
        if value != root[0][flag]:
            raise UsageError(
                f"All ranks run with the same flags, but {flag} is {root[0][flag]} on rank 0 and {value} on {name}: "
                f"start all with one command."
            )
    if other[1] != root[1]:
        raise DataError(
            f"All ranks read the same data set, but {MANIFEST_NAME} in {config.data_dir} differs on {name}: share the "
            f"directory, or copy it anew."
        )
    for part, version in other[2].items():
        if version != root[2][part]:
            raise WorldError(
                f"All ranks run the same software, but {part} is {root[2][part]} on rank 0 and {version} on {name}: give all "
                f"hosts the same environment."
            )


def versions() -> dict[str, str]:
    """Python and the packages that decide what a step computes, with their versions; "none" for those not installed."""
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def check_equal_weights(world: World, variables: dict[str, Any]) -> None:
    """Compare checksums of `variables` over all ranks.

    Raises:
        TrainingError: one differs; it is named, by rank 0.
    """
    mine = [xxhash.xxh3_64_intdigest(np.ascontiguousarray(variable.numpy()).data) for variable in variables.values()]
    theirs = world.allgather((world.name, mine))
    world.run_on_root(lambda: _require_equal(list(variables), theirs))


def _require_equal(names: list[str], checksums: list[tuple[str, list[int]]]) -> None:
    for rank, theirs in checksums:
        differing = [name for name, a, b in zip(names, checksums[0][1], theirs, strict=True) if a != b]
        if differing:
            raise TrainingError(
                f"All ranks hold equal weights, but {len(differing)} variable(s) differ between rank 0 and {rank}, "
                f"{differing[0]} first: the same command goes on from the last checkpoint."
            )
