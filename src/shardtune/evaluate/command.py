"""`shardtune eval`: a run's newest checkpoint over a split, every example once."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import Manifest, RecordIndex
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.counts import TopKCounts
from shardtune.evaluate.evaluator import Evaluator
from shardtune.input.pipeline import evaluation_batches
from shardtune.input.reader import RecordReader
from shardtune.model import checkpoint_file, inception, pretrained
from shardtune.runtime import devices
from shardtune.runtime.files import write_json
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World


def evaluate(config: EvalConfig, world: World) -> TopKCounts:
    """Print precision@1 and recall@5, write them to `eval_dir/eval.json`, and return the counts.

    Raises:
        DataError, CheckpointError: no examples, no checkpoint, or one that was trained on other classes.
    """
    threads = devices.configure_devices(world)
    manifest, records, run, (step, path) = world.broadcast_from_root(lambda: _find(config, world))
    reader = RecordReader(config.data_dir, manifest, config.subset, records, config.on_corrupt)
    examples = min(len(reader), config.num_examples or len(reader))
    image_size = run["config"]["image_size"]
    model = inception.build(manifest.num_classes, image_size)
    pretrained.restore(model, path, averaged=config.ema)

    batches = evaluation_batches(
        reader, world, batch_size=config.batch_size, image_size=image_size, examples=examples, threads=threads
    )
    started = time.monotonic()
    world.guard.set_timeout(config.hang_timeout)
    with closing(batches):
        counts = Evaluator(model).run(batches, world)
    seconds = time.monotonic() - started
    if not counts or not counts.examples:
        raise DataError(f"Evaluation needs a sound record, but all {examples} asked for are corrupt: see shardtune verify.")
    if world.is_root:
        config.eval_dir.mkdir(parents=True, exist_ok=True)
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
        write_json(config.eval_dir / "eval.json", result)
    corrupt = sorted(set().union(*world.allgather(reader.corrupt)))
    if corrupt:
        print_on_root(
            world,
            f"{examples - counts.examples} corrupt record(s) were left out: the first is {reader.describe_record(corrupt[0])}.",
        )
    print_on_root(world, str(counts))
    return counts


def _find(config: EvalConfig, world: World) -> tuple[Manifest, RecordIndex, dict[str, Any], tuple[int, Path]]:
    """The data set, the run's configuration, and its newest checkpoint, if they fit together."""
    manifest, records = open_data_set(config.data_dir, world)
    if not manifest.examples(config.subset):
        raise DataError(f"Evaluation needs examples, but the {config.subset} split of {config.data_dir} is empty.")
    run = checkpoint_file.load_run_config(config.checkpoint_dir)
    if run["labels"] != manifest.labels:
        raise CheckpointError(
            f"A model is evaluated on the classes it was trained on, but {config.checkpoint_dir} has {run['labels']} and "
            f"{config.data_dir} has {manifest.labels}: give the data set of the run."
        )
    newest = checkpoint_file.latest(config.checkpoint_dir)
    if newest is None:
        raise CheckpointError(f"There is no checkpoint yet in {config.checkpoint_dir}: run shardtune train first.")
    return manifest, records[config.subset], run, newest
