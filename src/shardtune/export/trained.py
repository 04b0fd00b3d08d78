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
from shardtune.evaluate.choice import best_step, choose_checkpoint
from shardtune.export.config import ExportConfig
from shardtune.export.facts import ModelFacts
from shardtune.input.reader import RecordReader
from shardtune.model import checkpoint_file, inception, pretrained
from shardtune.runtime.files import sha256_file
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World


@dataclass(frozen=True)
class TrainedModel(ModelFacts):
    """What is exported.

    Attributes:
        checkpoint: the file of its weights.
        network: from `inception.build`, with these weights.
        digests: SHA-256 of the checkpoint, of config.json and of the manifest.
    """

    checkpoint: Path
    network: Any
    readers: Mapping[Split, RecordReader]
    digests: Mapping[str, str]


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
    image_size = int(run_config["config"]["image_size"])
    network = inception.build(manifest.num_classes, image_size)
    pretrained.restore(network, checkpoint, averaged=config.ema)
    # Not later: training deletes old checkpoints meanwhile.
    digests = {
        "checkpoint_sha256": sha256_file(checkpoint),
        "config_sha256": sha256_file(run / checkpoint_file.RUN_CONFIG_NAME),
        "data_sha256": manifest.sha256,
    }
    measured = {"averaged": config.ema, "image_size": image_size}
    return TrainedModel(
        run=run,
        config=run_config,
        checkpoint=checkpoint,
        step=step,
        is_best=best_step(run) == step,
        averaged=config.ema,
        image_size=image_size,
        background=config.background,
        network=network,
        data_dir=data_dir,
        manifest=manifest,
        readers=readers,
        evaluation=read_evaluation([config.eval_dir] if config.eval_dir else [run, run / "eval"], measured, digests),
        digests=digests,
    )


def read_evaluation(folders: list[Path], measured: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any] | None:
    """What `shardtune eval` measured of just these weights on the validation split, in the first folder that has it.

    Args:
        measured: values that eval.json must have.
        digests: values that its provenance must have.
    """
    for folder in folders:
        try:
            result = dict(json.loads((folder / "eval.json").read_text(encoding="utf-8")))
            found = {**result, **result["provenance"]}
        except (OSError, ValueError, TypeError, KeyError):
            continue
        # Not that of config.json: flags may change after an evaluation, and these weights stay.
        wanted = {**measured, "subset": "validation", **{name: digests[name] for name in ("checkpoint_sha256", "data_sha256")}}
        if wanted.items() <= found.items() and {"examples", "top_1"} <= result.keys():
            return result
    return None
