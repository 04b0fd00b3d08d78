"""`shardtune eval`: measure the newest checkpoint of a run on a split, every example once."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import SPLITS, Manifest, RecordIndex, Split
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.counts import TopKCounts
from shardtune.evaluate.evaluator import Evaluator
from shardtune.input.pipeline import InputOptions, evaluation_batches
from shardtune.input.reader import RecordReader
from shardtune.model import checkpoint_file, inception, pretrained
from shardtune.runtime import devices
from shardtune.runtime.files import write_json
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World


def evaluate(config: EvalConfig, world: World) -> TopKCounts:
    """Print precision@1 and recall@5, write them to `eval_dir/eval.json`, and return the counts.

    Raises:
        DataError, CheckpointError: no examples, no checkpoint, or a checkpoint of other classes.
    """
    num_threads = devices.configure_devices(world)
    manifest, records, run_config, (step, checkpoint) = world.broadcast_from_root(lambda: _load_inputs(config, world))
    reader = RecordReader(config.data_dir, manifest, config.subset, records, config.on_corrupt)
    examples = min(len(reader), config.num_examples or len(reader))
    image_size = run_config["config"]["image_size"]
    model = inception.build(manifest.num_classes, image_size)
    pretrained.restore(model, checkpoint, averaged=config.ema)

    options = InputOptions(image_size, num_threads, device=devices.device())
    batches = evaluation_batches(reader, world, options, batch_size=config.batch_size, examples=examples)
    started = time.monotonic()
    world.guard.set_timeout(config.hang_timeout)
    with closing(batches):
        counts = Evaluator(model).run(batches, world)
    seconds = time.monotonic() - started
    if not counts or not counts.examples:
        raise DataError(
            f"All {examples} evaluated record(s) of {config.data_dir} are corrupt.",
            f"Run shardtune verify {config.data_dir} to see what is damaged.",
        )
    if world.is_root:
        result = {
            "examples": counts.examples,
            "corrupt_records": examples - counts.examples,
            "top_1": counts.top_1,
            "top_5": counts.top_5,
            "precision_at_1": counts.precision_at_1,
            "recall_at_5": counts.recall_at_5,
            "subset": config.subset,
            "step": step,
            "averaged": config.ema,
            "images_per_second": round(examples / seconds, 2),
        }
        config.eval_dir.mkdir(parents=True, exist_ok=True)
        write_json(config.eval_dir / "eval.json", result)
    corrupt = sorted(set().union(*world.allgather(reader.corrupt)))
    if corrupt:
        print_on_root(
            world,
            f"{examples - counts.examples} corrupt record(s) were left out: the first is {reader.describe_record(corrupt[0])}.",
        )
    print_on_root(world, result_line(counts, manifest.num_classes))
    return counts


def result_line(counts: TopKCounts, num_classes: int) -> str:
    """The counts, with a note where recall@5 has no meaning; `num_classes` includes the background class."""
    if num_classes > 5:
        return str(counts)
    return f"{counts} (recall @ 5 is always 1 for {num_classes} classes, background included)"


def _load_inputs(config: EvalConfig, world: World) -> tuple[Manifest, RecordIndex, dict[str, Any], tuple[int, Path]]:
    """Manifest, record index of the split, configuration of the run, and step and path of its newest checkpoint.

    Raises:
        DataError: the split is empty, or there is no data set.
        CheckpointError: there is no run, it has no checkpoint, or it was trained on other classes.
    """
    manifest, records = open_data_set(config.data_dir, world)
    if not manifest.examples(config.subset):
        raise _empty_split_error(config.data_dir, manifest, config.subset)
    run = _run_directory(config.checkpoint_dir)
    run_config = checkpoint_file.load_run_config(run)
    if run_config["labels"] != manifest.labels:
        raise CheckpointError(
            f"The run in {run} was trained on the classes {run_config['labels']}, but {config.data_dir} has {manifest.labels}.",
            "Choose the data set of the run with --data_dir.",
        )
    newest = checkpoint_file.latest(run)
    if newest is None:
        raise CheckpointError(f"The run in {run} has no checkpoint yet.", "Run shardtune train first.")
    return manifest, records[config.subset], run_config, newest


def _empty_split_error(data_dir: Path, manifest: Manifest, subset: Split) -> DataError:
    others = [split for split in SPLITS if manifest.examples(split)]
    advice = [f"pass --subset {split}" for split in others]
    if subset == "validation":
        advice.insert(0, "build the data set again with --validation_fraction 0.2")
    text = ", or ".join(advice) or "build the data set again"
    return DataError(f"The {subset} split of {data_dir} is empty.", f"{text[0].upper()}{text[1:]}.")


def _run_directory(checkpoint_dir: Path) -> Path:
    """The run of a --checkpoint_dir: that directory itself or, for the checkpoints folder of a run, its parent."""
    folder = checkpoint_dir.absolute()
    is_run = (folder / checkpoint_file.RUN_CONFIG_NAME).exists()
    parent_is_run = folder.name == "checkpoints" and (folder.parent / checkpoint_file.RUN_CONFIG_NAME).exists()
    return folder.parent if parent_is_run and not is_run else checkpoint_dir
