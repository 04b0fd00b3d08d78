"""What predicts: the checkpoint that flags name, its classes, and how its images are made."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Manifest
from shardtune.errors import DataError, UsageError
from shardtune.evaluate.checkpoint_source import Checkpoint, find_checkpoint, no_checkpoint_error
from shardtune.evaluate.predictions import BACKGROUND
from shardtune.images.pixels import ImageOptions
from shardtune.predict.config import PredictConfig
from shardtune.runtime.files import exists
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World


@dataclass(frozen=True)
class Trained:
    """A checkpoint, and how to use it.

    Attributes:
        class_names: by label, that of the background class included.
        num_outputs: classes that it gives out: an export may leave out the background class.
        image_options: with which the images of its training were made.
    """

    checkpoint: Checkpoint
    class_names: list[str]
    num_outputs: int
    image_options: ImageOptions


def find_trained(config: PredictConfig, world: World) -> Trained:
    """What `config` names.

    Raises:
        UsageError: --output is no place for a file, or --data_dir was given for an export.
        CheckpointError: there is no checkpoint.
        DataError: it does not name its classes, and there is no data set that does.
    """
    if config.output and exists(config.output) and not config.output.is_file():
        raise UsageError(f"--output {config.output} is no regular file.", "Leave it out: predictions then go to stdout.")
    checkpoint = find_checkpoint(config.checkpoint_dir, config.checkpoint, ema=config.ema)
    if checkpoint is None:
        raise no_checkpoint_error(config.checkpoint_dir)
    for note in checkpoint.notes:
        print_on_root(world, note, sys.stderr)
    if checkpoint.exported:
        if config.data_dir:
            raise UsageError("An export says itself what its classes and images are.", "Leave out --data_dir.")
        exported = checkpoint.exported
        background = [BACKGROUND][: exported.first_class]
        names, options = [*background, *exported.classes], _image_options(exported.description["conversion"])
        return Trained(checkpoint, names, len(exported.classes), options)
    if checkpoint.run_config:
        return _of_run(checkpoint, checkpoint.run_config, config, world)
    if config.data_dir is None:
        raise DataError("Checkpoints of TensorFlow do not name their classes.", "Name their data set with --data_dir.")
    manifest, _ = open_data_set(config.data_dir, world)
    checkpoint.check_classes(config.data_dir, manifest)
    return Trained(checkpoint, [BACKGROUND, *manifest.titles], checkpoint.num_classes, _image_options(manifest.provenance))


def _of_run(checkpoint: Checkpoint, run_config: Mapping[str, Any], config: PredictConfig, world: World) -> Trained:
    """A checkpoint of a run, with the words for classes and the options of its data set, if that is there."""
    data_dir = config.data_dir or Path(str(run_config["config"].get("data_dir")))
    try:
        manifest = Manifest.load(data_dir)
    except (DataError, PermissionError):  # other errors may pass, and the words for the classes would be missing
        manifest = None
    if manifest and manifest.sha256 == run_config["data_sha256"]:
        names, options = manifest.titles, _image_options(manifest.provenance)
    else:
        names, options = run_config["labels"], ImageOptions()
        text = f"{data_dir} is not the data set of the run as shardtune build left it: images are prepared as by its defaults."
        print_on_root(world, f"{text} Name that data set with --data_dir.", sys.stderr, logging.WARNING)
    return Trained(checkpoint, [BACKGROUND, *names], checkpoint.num_classes, options)


def _image_options(provenance: Mapping[str, Any]) -> ImageOptions:
    """The options of `build` that are known."""
    return ImageOptions(**{name: provenance[name] for name in ("exif", "max_side", "quality") if name in provenance})
