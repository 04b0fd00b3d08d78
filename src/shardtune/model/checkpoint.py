"""Checkpoints of a run: named tensors in safetensors files, no pickle, each written whole or not at all."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from shardtune.errors import CheckpointError
from shardtune.files import atomic_write

RUN_CONFIG_NAME = "config.json"
Tensors = dict[str, npt.NDArray[Any]]


def path_of(directory: Path, step: int) -> Path:
    return directory / "checkpoints" / f"step-{step:08d}.safetensors"


def newest(directory: Path) -> tuple[int, Path] | None:
    """Step and path of the newest checkpoint of the run in `directory`, or None."""
    found = [
        (int(match[1]), path)
        for path in (directory / "checkpoints").glob("*")
        if (match := re.fullmatch(r"step-(\d+)\.safetensors", path.name))
    ]
    return max(found, default=None)


def save(directory: Path, step: int, tensors: Tensors) -> Path:
    """Write the checkpoint of `step` durably and return its path."""
    path = path_of(directory, step)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        file.write(safetensors.numpy.save({name: np.asarray(t, order="C") for name, t in tensors.items()}))
    return path


def load(path: Path) -> Tensors:
    """All tensors of a checkpoint.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint ({error}): remove it to use the one before.") from error


def assign(variables: dict[str, Any], tensors: Tensors, path: Path) -> None:
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
    """`config.json` of a run directory: {"config": flags, "workers": number, "labels": class names}.

    Raises:
        CheckpointError: there is none, or it is not one of ours.
    """
    path = directory / RUN_CONFIG_NAME
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(run["config"]["image_size"], int) and run["workers"] and isinstance(run["labels"], list)):
            raise ValueError("a field has another type")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"A run directory holds {RUN_CONFIG_NAME}, but {path} cannot be read ({error!r}): give the train_dir of a run."
        ) from error
    return dict(run)
