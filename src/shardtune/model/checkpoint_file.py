"""Checkpoints of a run: named tensors in safetensors files, no pickle, each written whole or not at all, with a digest."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import xxhash
from safetensors import SafetensorError, safe_open

from shardtune.errors import CheckpointError
from shardtune.runtime.files import atomic_write

RUN_CONFIG_NAME = "config.json"
RUN_VERSION = 1
Tensors = dict[str, npt.NDArray[Any]]


def checkpoint_path(directory: Path, step: int) -> Path:
    return directory / "checkpoints" / f"step-{step:08d}.safetensors"


def list_checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """Step and path of every checkpoint of the run in `directory`, the oldest first."""
    return sorted(
        (int(match[1]), path)
        for path in (directory / "checkpoints").glob("*")
        if (match := re.fullmatch(r"step-(\d+)\.safetensors", path.name))
    )


def latest(directory: Path) -> tuple[int, Path] | None:
    """Step and path of the newest checkpoint of the run in `directory`, or None."""
    return max(list_checkpoints(directory), default=None)


def save(directory: Path, step: int, tensors: Tensors, metadata: dict[str, Any] | None = None) -> Path:
    """Write the checkpoint of `step` durably and return its path; `metadata` is a JSON value that goes with it."""
    path = checkpoint_path(directory, step)
    path.parent.mkdir(exist_ok=True)
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    text = json.dumps(metadata or {}, sort_keys=True)
    with atomic_write(path) as file:
        # One entry: safetensors writes several in random order, and equal checkpoints would be other files.
        entry = json.dumps({"notes": text, "xxh3": _digest(tensors, text)})
        file.write(safetensors.numpy.save(tensors, {"checkpoint": entry}))
    return path


def load(path: Path) -> Tensors:
    """All tensors of a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or is not as it was written.
    """
    return load_with_metadata(path)[0]


def load_with_metadata(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """All tensors of a checkpoint, and the metadata that was saved with them; raises as `load`."""
    try:
        tensors = safetensors.numpy.load_file(path)
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
        if "checkpoint" in metadata:  # earlier ones held its two values side by side
            metadata = json.loads(metadata["checkpoint"])
        if metadata["xxh3"] != _digest(tensors, metadata["notes"]):
            raise ValueError("its content does not match its digest")
        return tensors, json.loads(metadata["notes"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint ({error}): remove it to use the one before.") from error


def _digest(tensors: Tensors, metadata: str) -> str:
    """XXH3 of names, types, shapes and bytes, in the order of the names."""
    digest = xxhash.xxh3_128(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype.str}\0{tensor.shape}\0".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def assign_variables(variables: dict[str, Any], tensors: Tensors, path: Path) -> None:
    """Give every variable its namesake's value.

    Raises:
        CheckpointError: one is missing or of another shape.
    """
    for name, variable in variables.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != tuple(variable.shape):
            found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
            raise CheckpointError(
                f"{path} belongs to another model: {name} of shape {list(variable.shape)} was expected and {found}: "
                f"use the directory of the run itself."
            )
        variable.assign(tensor)


def load_run_config(directory: Path) -> dict[str, Any]:
    """`config.json` of a run directory: {"config": flags, "workers": number, "labels": class names, …}.

    Raises:
        CheckpointError: there is none, or it is not one of ours.
    """
    path = directory / RUN_CONFIG_NAME
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if run.get("version", RUN_VERSION) != RUN_VERSION:  # the first ones had none
            raise ValueError(f"it is of version {run['version']}, and this shardtune reads {RUN_VERSION}")
        if not (isinstance(run["config"]["image_size"], int) and run["workers"] and isinstance(run["labels"], list)):
            raise ValueError("a field has another type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"A run directory holds {RUN_CONFIG_NAME}, but {path} cannot be read ({error!r}): give the train_dir of a run."
        ) from error
    return dict(run)
