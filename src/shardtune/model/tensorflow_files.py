"""Which files are a checkpoint of TensorFlow 1: V1 is one file, V2 an index and data files with a common prefix.

The file `checkpoint` of a directory names its newest checkpoint, often by the path that it had on another machine.
"""

import glob
import os
import re
from pathlib import Path, PureWindowsPath

from shardtune.errors import CheckpointError
from shardtune.model.checkpoint_file import join_first

TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # ends V1 checkpoints and V2 indices: tensorflow/core/lib/io/format.h
STATE_NAME = "checkpoint"


def main_file(path: Path) -> Path:
    """The index of a V2 checkpoint, for its prefix or any of its files; any other path as it is."""
    index = Path(f"{_prefix(path)}.index")
    return index if index.is_file() else path


def files(path: Path) -> list[Path]:
    """The files of a V2 checkpoint, its index first, for its prefix or any of its files; any other path alone."""
    main = main_file(path)
    return [main, *sorted(main.parent.glob(f"{glob.escape(main.stem)}.data-*-of-*"))] if main.suffix == ".index" else [path]


def is_table(path: Path) -> bool:
    """Whether a file is a whole V1 checkpoint, or the index of a V2 checkpoint."""
    with path.open("rb") as file:
        file.seek(-min(len(TABLE_MAGIC), path.stat().st_size), os.SEEK_END)
        return file.read() == TABLE_MAGIC


def named_in_state(directory: Path) -> str:
    """The name, without its folder, of the checkpoint that the file `checkpoint` calls the newest; empty without that file."""
    state = directory / STATE_NAME
    text = state.read_text("utf-8", "replace") if state.is_file() else ""
    match = re.search(r'model_checkpoint_path: "(.+)"', text)
    return PureWindowsPath(match[1]).name if match else ""  # it takes both / and \ for separators


def newest(path: Path) -> Path | None:
    """Prefix of the newest checkpoint in a directory: the one that its file `checkpoint` names or, without that file, the
    one of the highest number, or the only one. For the prefix or a file of a checkpoint, that one. None if it is not there.

    Raises:
        CheckpointError: several have no number.
    """
    if not path.is_dir():
        return _prefix(path) if main_file(_prefix(path)).is_file() else None
    if name := named_in_state(path):
        return path / name if main_file(path / name).is_file() else None
    prefixes = sorted({_prefix(file) for file in path.iterdir() if file.is_file() and is_table(file)})
    numbers = {prefix: number for prefix in prefixes if (number := step_in_name(prefix)) is not None}
    if len(prefixes) > 1 and not numbers:
        raise CheckpointError(
            f"The directory {path} has {len(prefixes)} checkpoints ({join_first([prefix.name for prefix in prefixes])}).",
            "Give the path of one.",
        )
    return max(numbers or prefixes, key=lambda prefix: numbers.get(prefix, 0), default=None)


def step_in_name(prefix: Path) -> int | None:
    """1999 for model.ckpt-1999."""
    match = re.search(r"-([0-9]+)$", prefix.name)
    return int(match[1]) if match else None


def _prefix(path: Path) -> Path:
    return Path(re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path)))
