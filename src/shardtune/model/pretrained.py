"""Weights from the 2016-03-01 release of Inception v3 (a TensorFlow checkpoint, V1 or V2 format)."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from shardtune.errors import CheckpointError
from shardtune.model.inception import FINAL_LAYERS, named_variables


def restore(model: Any, path: Path, *, fine_tune: bool) -> int:
    """Assign to every variable of `model` its namesake in the checkpoint; returns how many.

    Args:
        model: made by `inception.build`.
        path: the checkpoint's file, or the prefix of its files.
        fine_tune: leave the final layers (logits and auxiliary logits) as they are.

    Raises:
        CheckpointError: no checkpoint there, or one whose variables are missing or of other shapes.
    """
    wanted = named_variables(model)
    if fine_tune:
        wanted = {name: variable for name, variable in wanted.items() if not name.startswith(FINAL_LAYERS)}
    if not list(path.parent.glob(f"{path.name}*")):
        raise CheckpointError(f"There is no checkpoint at {path}: give the path that ends in model.ckpt-157585.")
    unreadable = (ValueError, IndexError, RuntimeError, tf.errors.OpError)  # what the reader raises on broken files
    not_readable = (
        f"A TensorFlow checkpoint was expected, but {path} is none that can be read: give the path that ends in "
        f"model.ckpt-157585, or fetch it again."
    )
    try:
        reader = tf.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
    except unreadable as error:
        raise CheckpointError(not_readable) from error
    missing = [name for name in wanted if name not in shapes]
    if missing:
        raise CheckpointError(
            f"A checkpoint of Inception v3 of 2016-03-01 was expected, but {path} lacks {len(missing)} of its "
            f"{len(wanted)} variables ({missing[0]} first): give another checkpoint."
        )
    wrong = [name for name, variable in wanted.items() if tuple(shapes[name]) != tuple(variable.shape)]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{path} does not fit this model: {len(wrong)} variables have another shape ({name} is {shapes[name]} there and "
            f"{list(wanted[name].shape)} here): add --fine_tune for other classes, or use --image_size 299."
        )
    try:
        tensors = {name: reader.get_tensor(name) for name in wanted}
    except unreadable as error:
        raise CheckpointError(not_readable) from error
    for name, variable in wanted.items():
        variable.assign(tensors[name])
    return len(wanted)
