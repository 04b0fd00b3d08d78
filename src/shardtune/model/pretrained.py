"""Starting from weights that exist: every variable of the network, and of the file, is accounted for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.errors import CheckpointError
from shardtune.model import weight_files
from shardtune.model.inception import HEAD_PREFIXES, named_variables
from shardtune.runtime.frameworks import keras

AUXILIARY_HEAD = "aux_logits/"
AUXILIARY_CONVOLUTION = "aux_logits/Conv/"  # as large as its input, so one for each image size
NAMES_TOLD = 5


@dataclass(frozen=True)
class RestoreReport:
    """Names of the variables that a file gave, and of those that keep their random values."""

    kind: str
    path: Path
    given: list[str]
    random: list[str]

    def __str__(self) -> str:
        layers = dict.fromkeys(name.rpartition("/")[0].removesuffix("/BatchNorm") for name in self.random)
        random = f"; {listed(list(layers))} start at random" if layers else ""
        return f"Restored {len(self.given)} variables from {self.path}, {self.kind}{random}."


def restore(model: Any, path: Path, *, fine_tune: bool = False, averaged: bool = False) -> RestoreReport:
    """Give every variable of `model` its value in `path`: all of them or, where that fails, none.

    Args:
        model: made by `inception.build`.
        path: see `weight_files.read`.
        fine_tune: leave the final layers (logits and auxiliary logits) at random, and the auxiliary head's full-size
            convolution too where the file's is for another image size.
        averaged: the averaged weights, where the file has both.

    Raises:
        CheckpointError: not a checkpoint, or variables are missing, unexpected, or of another shape.
    """
    wanted = named_variables(model)
    source = weight_files.read(path, averaged=averaged, trunk=_trunk(model))
    shapes = {name: array.shape for name, array in source.arrays.items()}
    random = source.lacks
    if fine_tune:
        random += HEAD_PREFIXES
        kernel = f"{AUXILIARY_CONVOLUTION}weights"
        if kernel in wanted and kernel in shapes and shapes[kernel] != wanted[kernel].shape:
            random += (AUXILIARY_CONVOLUTION,)
    given = {name: variable for name, variable in wanted.items() if not name.startswith(random)}
    # Below 107 pixels the network has no place for an auxiliary head.
    no_place = () if "aux_logits" in model.output else (AUXILIARY_HEAD,)
    missing = [name for name in given if name not in shapes]
    unexpected = [name for name in shapes if name not in wanted and not name.startswith(no_place)]
    other = [name for name in given if name in shapes and shapes[name] != given[name].shape]
    if wrong := missing + unexpected + other:
        told = [f"{name} {list(shapes[name])} where {list(given[name].shape)} belongs" for name in other]
        parts = {"missing": missing, "unexpected": unexpected, "of another shape": told}
        final = not fine_tune and all(name.startswith((*HEAD_PREFIXES, AUXILIARY_CONVOLUTION)) for name in wrong)
        raise CheckpointError(
            f"This network has {len(wanted)} variables ({model.output['logits'].shape[-1]} classes, {model.input.shape[1]} "
            f"pixels), but of them are in {source.path}, {source.kind}, "
            + "; ".join(f"{len(names)} {what} ({listed(names)})" for what, names in parts.items() if names)
            + (": add --fine_tune to start such layers at random." if final else ": give another checkpoint.")
        )
    for name, variable in given.items():
        variable.assign(source.arrays[name])
    return RestoreReport(source.kind, source.path, list(given), [name for name in wanted if name not in given])


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMES_TOLD
    return ", ".join(names[:NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")


def _trunk(model: Any) -> list[str]:
    """The trunk's convolutions in the order of model.layers, which is Keras's own."""
    names = [layer.name.replace(".", "/") for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    return [name for name in names if not name.startswith(AUXILIARY_HEAD)]
