"""Start from pretrained weights: every variable of the network and of the file is restored, left at random or reported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.errors import CheckpointError
from shardtune.model import weight_files
from shardtune.model.checkpoint_file import join_first
from shardtune.model.inception import HEAD_PREFIXES, LOGITS_BIASES, named_variables
from shardtune.model.weight_files import WeightFile
from shardtune.runtime.frameworks import keras

AUXILIARY_HEAD = "aux_logits/"
AUXILIARY_CONVOLUTION = "aux_logits/Conv/"  # its kernel is as large as its input, which depends on the image size


@dataclass(frozen=True)
class RestoreReport:
    """Names of the variables restored from a file, and of those that keep their random initial values."""

    kind: str
    path: Path
    restored: list[str]
    initialized: list[str]

    def __str__(self) -> str:
        layers = dict.fromkeys(name.rpartition("/")[0].removesuffix("/BatchNorm") for name in self.initialized)
        initialized = f"; {join_first(list(layers))} start at random" if layers else ""
        return f"Restored {len(self.restored)} variables from {self.path}, {self.kind}{initialized}."


def restore(model: Any, path: Path, *, fine_tune: bool = False, averaged: bool = False) -> RestoreReport:
    """Set every variable of `model` to its value in `path`: all of them, or none when one does not fit.

    Args:
        model: made by `inception.build`.
        path: see `weight_files.read`.
        fine_tune: leave the final layers (logits and auxiliary logits) at random, and also the auxiliary head's full-size
            convolution if the file has it for another image size.
        averaged: take the averaged weights of the variables that have them.

    Raises:
        CheckpointError: it is no readable checkpoint, or variables are missing, unexpected, or of another shape.
    """
    variables = named_variables(model)
    file = weight_files.read(path, averaged=averaged, trunk=_trunk(model))
    random_prefixes = file.absent_prefixes + (_head_prefixes(variables, file) if fine_tune else ())
    restored = {name: variable for name, variable in variables.items() if not name.startswith(random_prefixes)}
    _check_fit(model, file, restored, fine_tune)
    for name, variable in restored.items():
        variable.assign(file.arrays[name])
    return RestoreReport(file.kind, file.path, list(restored), [name for name in variables if name not in restored])


def _head_prefixes(variables: dict[str, Any], file: WeightFile) -> tuple[str, ...]:
    """What --fine_tune leaves at random."""
    kernel = f"{AUXILIARY_CONVOLUTION}weights"
    if kernel in variables and kernel in file.arrays and file.arrays[kernel].shape != variables[kernel].shape:
        return (*HEAD_PREFIXES, AUXILIARY_CONVOLUTION)
    return HEAD_PREFIXES


def _check_fit(model: Any, file: WeightFile, expected: dict[str, Any], fine_tune: bool) -> None:
    """Raise CheckpointError unless the file has each expected variable in its shape, and no others of the network."""
    variables, arrays = named_variables(model), file.arrays
    ignored_prefixes = () if "aux_logits" in model.output else (AUXILIARY_HEAD,)  # small images have no auxiliary head
    missing = [name for name in expected if name not in arrays]
    unexpected = [name for name in arrays if name not in variables and not name.startswith(ignored_prefixes)]
    misshapen = [name for name in expected if name in arrays and arrays[name].shape != expected[name].shape]
    wrong = missing + unexpected + misshapen
    if not wrong:
        return
    advice = "Give another checkpoint."
    if not fine_tune and all(name.startswith((*HEAD_PREFIXES, AUXILIARY_CONVOLUTION)) for name in wrong):
        advice = "Pass --fine_tune to start the head at random."
        if LOGITS_BIASES in misshapen:
            found, needed = arrays[LOGITS_BIASES].size, expected[LOGITS_BIASES].shape[0]
            raise CheckpointError(
                f"The checkpoint {file.path} has {found} outputs, this data set needs {needed} ({needed - 1} classes and the "
                f"background).",
                advice,
            )
    shapes = [f"{name} {list(arrays[name].shape)} instead of {list(expected[name].shape)}" for name in misshapen]
    parts = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    mismatches = "; ".join(f"{len(names)} {kind} ({join_first(names)})" for kind, names in parts.items() if names)
    raise CheckpointError(
        f"{file.path}, {file.kind}, does not fit the network for images of {model.input.shape[1]} pixels with its "
        f"{len(variables)} variables: {mismatches}.",
        advice,
    )


def _trunk(model: Any) -> list[str]:
    """The trunk's convolutions in the order of model.layers, which is Keras's own."""
    names = [layer.name.replace(".", "/") for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    return [name for name in names if not name.startswith(AUXILIARY_HEAD)]
