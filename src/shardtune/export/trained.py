"""A checkpoint of a run, and all that is known about it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Split
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.choice import choose_checkpoint
from shardtune.export.config import ExportConfig
from shardtune.export.facts import ModelFacts
from shardtune.input.reader import RecordReader
from shardtune.model import checkpoint_file, inception, pretrained
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World


@dataclass(frozen=True)
class TrainedModel(ModelFacts):
    """What is exported.

    Attributes:
        checkpoint: the file of its weights.
        network: from `inception.build`, with these weights.
    """

    checkpoint: Path
    network: Any
    readers: Mapping[Split, RecordReader]


def load(config: ExportConfig, world: World) -> TrainedModel:
    """A checkpoint of the run, with the data set that it was trained on. For rank 0.

    Raises:
        CheckpointError: there is no run, no checkpoint in it, or it was trained on other classes.
        DataError: the data set is not there, or has no image.
    """
    run = checkpoint_file.run_directory(config.checkpoint_dir)
    run_config = checkpoint_file.load_run_config(run)
    chosen = choose_checkpoint(run, config.checkpoint, partial(print_on_root, world))
    if chosen is None:
        raise CheckpointError(f"The run in {run} has no checkpoint yet.", "Run shardtune train first.")
    data_dir = config.data_dir or Path(run_config["config"].get("data_dir", ""))
    if not data_dir.is_dir():
        raise DataError(f"The data set {data_dir}, by which the export is checked, is not there.", "Give its --data_dir.")
    manifest, records = open_data_set(data_dir, world)
    if manifest.labels != run_config["labels"]:
        raise CheckpointError(
            f"The run in {run} was trained on the classes {run_config['labels']}, but {data_dir} has {manifest.labels}.",
            "Choose the data set of the run with --data_dir.",
        )
    readers = {split: RecordReader(data_dir, manifest, split, records[split]) for split in records}
    if not any(map(len, readers.values())):
        raise DataError(f"{data_dir} has no image by which the export could be checked.", "Give another --data_dir.")
    step, checkpoint = chosen
    network = inception.build(manifest.num_classes, run_config["config"]["image_size"])
    pretrained.restore(network, checkpoint, averaged=config.ema)
    folders = [config.eval_dir] if config.eval_dir else [run, run / "eval"]
    evaluation = read_evaluation(folders, step, averaged=config.ema)
    return TrainedModel(
        run, run_config, step, config.ema, config.background, data_dir, manifest, evaluation, checkpoint, network, readers
    )


def read_evaluation(folders: list[Path], step: int, *, averaged: bool) -> dict[str, Any] | None:
    """What `shardtune eval` measured of just these weights on the validation split, in the first folder that has it."""
    for folder in folders:
        try:
            result = dict(json.loads((folder / "eval.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        wanted = {"step": step, "averaged": averaged, "subset": "validation"}
        if wanted.items() <= result.items() and {"examples", "top_1"} <= result.keys():
            return result
    return None
