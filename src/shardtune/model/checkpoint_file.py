"""Checkpoints of a run: named tensors in safetensors files, without pickle, written atomically, each with a digest."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import xxhash
from safetensors import SafetensorError

from shardtune.errors import CheckpointError
from shardtune.runtime.files import atomic_write, list_matching

RUN_CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
RUN_VERSION = 1
MAX_NAMES_LISTED = 5
HEADER_START = 8  # of a safetensors file: after the length of the header, which is JSON
Tensors = dict[str, npt.NDArray[Any]]


def checkpoint_path(directory: Path, step: int) -> Path:
    return directory / "checkpoints" / f"step-{step:08d}.safetensors"


def run_directory(checkpoint_dir: Path) -> Path:
    """The run of a --checkpoint_dir: that directory itself or, for the checkpoints folder of a run, its parent."""
    folder = checkpoint_dir.absolute()
    is_run = (folder / RUN_CONFIG_NAME).exists()
    parent_is_run = folder.name == "checkpoints" and (folder.parent / RUN_CONFIG_NAME).exists()
    return folder.parent if parent_is_run and not is_run else checkpoint_dir


def best_path(directory: Path) -> Path:
    """The file that says which checkpoint was the best by validation; there is none before the first validation."""
    return directory / "checkpoints" / "best.json"


def list_checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """Step and path of every checkpoint of the run in `directory`, oldest first."""
    return sorted(
        (int(match[1]), path)
        for path in list_matching(directory / "checkpoints", "step-*")
        if (match := re.fullmatch(r"step-(\d+)\.safetensors", path.name))
    )


def latest(directory: Path) -> tuple[int, Path] | None:
    """Step and path of the newest checkpoint of the run in `directory`, or None."""
    return max(list_checkpoints(directory), default=None)


def save(directory: Path, step: int, tensors: Tensors, metadata: dict[str, Any] | None = None) -> Path:
    """Write the checkpoint of `step` durably, with `metadata` as JSON, and return its path."""
    path = checkpoint_path(directory, step)
    path.parent.mkdir(exist_ok=True)
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    text = json.dumps(metadata or {}, sort_keys=True)
    with atomic_write(path) as file:
        # One entry only: safetensors writes several in random order, and equal checkpoints would differ as files.
        entry = json.dumps({"notes": text, "xxh3": _digest(tensors, text)})
        file.write(safetensors.numpy.save(tensors, {"checkpoint": entry}))
    return path


def load(path: Path) -> Tensors:
    """All tensors of a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or its content does not match its digest.
    """
    return parse(read(path), path)[0]


def read(path: Path) -> bytes:
    """The content of the file of a checkpoint. It is not mapped into memory: where reading fails, that would kill the process.

    Raises:
        CheckpointError: it cannot be read, which says nothing of its content.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({error.strerror}).",
            "Run the command again. If that does not help, remove it to use the one before it.",
        ) from error


def parse(content: bytes, path: Path) -> tuple[Tensors, dict[str, Any]]:
    """All tensors of a checkpoint and the metadata saved with them.

    Args:
        path: for the error.

    Raises:
        CheckpointError: the content does not match its digest.
    """
    try:
        tensors = safetensors.numpy.load(content)
        header_end = HEADER_START + int.from_bytes(content[:HEADER_START], "little")
        metadata = json.loads(content[HEADER_START:header_end]).get("__metadata__") or {}
        if "checkpoint" in metadata:  # the first version stored the two values as entries of their own
            metadata = json.loads(metadata["checkpoint"])
        if not (isinstance(metadata, dict) and {"notes", "xxh3"} <= metadata.keys()):
            raise ValueError("it has no digest of shardtune")
        if metadata["xxh3"] != _digest(tensors, metadata["notes"]):
            raise ValueError("its content does not match its digest")
        return tensors, json.loads(metadata["notes"])
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {path} is damaged ({error}).", "Remove it to use the one before it.") from error


def _digest(tensors: Tensors, metadata: str) -> str:
    """XXH3 of the metadata and of names, dtypes, shapes and bytes of the tensors in the order of their names."""
    digest = xxhash.xxh3_128(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype.str}\0{tensor.shape}\0".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def check_fit(shapes: Mapping[str, tuple[int, ...]], tensors: Tensors, path: Path) -> None:
    """Check that a checkpoint has a tensor of each name, in its shape.

    Args:
        path: the checkpoint of the tensors, for the error.

    Raises:
        CheckpointError: tensors are missing or have another shape.
    """
    mismatches = [
        f"{name} is missing" if found is None else f"{name} has shape {list(found)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if (found := tensors[name].shape if name in tensors else None) != shape
    ]
    if mismatches:
        raise CheckpointError(
            f"The checkpoint {path} does not fit this run: {join_first(mismatches)}.",
            "Restore the checkpoints of this run, or choose another --train_dir.",
        )


def join_first(texts: Sequence[str]) -> str:
    """The first texts, and the number of the others."""
    others = len(texts) - MAX_NAMES_LISTED
    return ", ".join(texts[:MAX_NAMES_LISTED]) + (f" and {others} more" if others > 0 else "")


def load_run_config(directory: Path) -> dict[str, Any]:
    """`config.json` of a run directory: {"config": flags, "workers": number, "labels": class names, …}.

    Raises:
        CheckpointError: it does not exist, cannot be read, or has another version.
    """
    path = directory / RUN_CONFIG_NAME
    advice = "Restore it from a copy, or give the --train_dir of another run."
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"{directory} is no run directory: it has no {RUN_CONFIG_NAME}.", "Give the --train_dir of a run."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path} cannot be read ({reason}).", advice) from error
    if isinstance(run, dict) and run.get("version", RUN_VERSION) != RUN_VERSION:  # the first runs had none
        raise CheckpointError(
            f"{path} has version {run['version']}, this shardtune reads version {RUN_VERSION}.",
            "Use the shardtune that wrote it, or start a new run.",
        )
    if not _is_run_config(run):
        raise CheckpointError(f"{path} is no configuration of a run: a field is missing or has another type.", advice)
    return dict(run)


def _is_run_config(run: Any) -> bool:
    return (
        isinstance(run, dict)
        and isinstance(run.get("config"), dict)
        and isinstance(run["config"].get("image_size"), int)
        and bool(run.get("workers"))
        and isinstance(run.get("labels"), list)
    )
