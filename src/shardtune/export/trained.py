"""A checkpoint of a run, and all that is known about it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.dataset.index import open_data_set
from shardtune.dataset.splits import SPLITS, Split
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.checkpoint_source import find_checkpoint, no_checkpoint_error
from shardtune.evaluate.choice import is_best
from shardtune.evaluate.result import read_result, result_folder, result_folders
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
    found = find_checkpoint(config.checkpoint_dir, config.checkpoint, ema=config.ema)
    if found is None:
        raise no_checkpoint_error(config.checkpoint_dir)
    run, run_config = found.directory, found.run_config
    if run_config is None:
        raise CheckpointError(f"{config.checkpoint_dir} is no run of shardtune train.", "Give the train_dir of one.")
    for note in found.notes:
        print_on_root(world, note)
    data_dir = config.data_dir or Path(run_config["config"].get("data_dir", ""))
    if not data_dir.is_dir():
        raise DataError(f"The data set {data_dir}, by which the export is checked, is not there.", "Give its --data_dir.")
    manifest, records = open_data_set(data_dir, world)
    found.check_classes(data_dir, manifest)
    readers = {split: RecordReader(data_dir, manifest, split, records[split]) for split in records}
    if not any(map(len, readers.values())):
        raise DataError(f"{data_dir} has no image by which the export could be checked.", "Give another --data_dir.")
    network = inception.build(found.num_classes, found.image_size)
    pretrained.restore(network, found.path, averaged=found.averaged)
    # Not later: training deletes old checkpoints meanwhile.
    digests = {
        "checkpoint_sha256": sha256_file(found.path),
        "config_sha256": sha256_file(run / checkpoint_file.RUN_CONFIG_NAME),
        "data_sha256": manifest.sha256,
    }
    folders = [result_folder(config.eval_dir, split) for split in SPLITS] if config.eval_dir else result_folders(run)
    measured = {"averaged": found.averaged, "image_size": found.image_size}
    return TrainedModel(
        run=run,
        config=run_config,
        checkpoint=found.path,
        step=found.step,
        is_best=is_best(run, found.step),
        averaged=found.averaged,
        image_size=found.image_size,
        background=config.background,
        network=network,
        data_dir=data_dir,
        manifest=manifest,
        readers=readers,
        evaluation=read_evaluation(folders, measured, digests),
        digests=digests,
    )


def read_evaluation(folders: list[Path], measured: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any] | None:
    """What `shardtune eval` measured of just these weights: on the test split if it did, else on the validation split.

    Of several such results, that in the first folder counts.

    Args:
        measured: values that eval.json must have.
        digests: values that its provenance must have.
    """
    # Not that of config.json: flags may change after an evaluation, and these weights stay.
    wanted = {**measured, **{name: digests[name] for name in ("checkpoint_sha256", "data_sha256")}}
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        with suppress(DataError):
            result, _ = read_result(folder)
            if wanted.items() <= {**result, **result["provenance"]}.items():
                found.setdefault(result["subset"], result)
    return found.get("test") or found.get("validation")
