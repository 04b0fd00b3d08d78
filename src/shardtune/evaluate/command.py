"""`shardtune eval`: measure the newest checkpoint of a run on a split, every example once.

What it prints are the lines of research/inception's inception_eval.py.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import SPLITS, Manifest, RecordIndex, Split
from shardtune.errors import DataError
from shardtune.evaluate.checkpoint_source import Checkpoint, find_newest, no_checkpoint_error
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.counts import TopKCounts
from shardtune.evaluate.evaluator import Evaluator
from shardtune.input.pipeline import InputOptions, evaluation_batches
from shardtune.input.reader import RecordReader
from shardtune.model import inception, pretrained
from shardtune.runtime import devices
from shardtune.runtime.files import write_json
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

BATCHES_BETWEEN_LINES = 20
T = TypeVar("T")


def evaluate(config: EvalConfig, world: World) -> TopKCounts:
    """Evaluate the newest checkpoint, and return its counts if that is all; else every newer one, for ever.

    Raises:
        DataError, CheckpointError: no examples, no checkpoint, or a checkpoint of other classes.
    """
    num_threads = devices.configure_devices(world)
    manifest, records, checkpoint = world.broadcast_from_root(lambda: _load_inputs(config, world))
    reader = RecordReader(config.data_dir, manifest, config.subset, records, config.on_corrupt)
    model = inception.build(manifest.num_classes, checkpoint.image_size, auxiliary_head=False)
    evaluator = Evaluator(model)
    options = InputOptions(checkpoint.image_size, num_threads, device=devices.device())
    world.guard.set_timeout(config.hang_timeout)
    while True:
        pretrained.restore(model, checkpoint.path, averaged=checkpoint.averaged)
        print_on_root(world, f"Successfully loaded model from {checkpoint.path} at step={checkpoint.step}.")
        for note in checkpoint.notes:
            print_on_root(world, note)
        counts = _evaluate(config, world, evaluator, reader, options, checkpoint)
        print_on_root(world, f"{datetime.now()}: {result_line(counts, manifest.num_classes)}")
        if config.run_once:
            return counts
        checkpoint = world.broadcast_from_root(partial(_wait_for_checkpoint, config, manifest, world, checkpoint.step))


def _evaluate(
    config: EvalConfig, world: World, evaluator: Evaluator, reader: RecordReader, options: InputOptions, checkpoint: Checkpoint
) -> TopKCounts:
    """The counts of the checkpoint, which the evaluator's network has; writes them to `eval_dir/eval.json`."""
    examples = min(len(reader), config.num_examples or len(reader))
    batches = evaluation_batches(reader, world, options, batch_size=config.batch_size, examples=examples)
    print_on_root(world, f"{datetime.now()}: starting evaluation on ({config.subset}).")
    started = time.monotonic()
    with closing(batches):
        counts = evaluator.run(_report_progress(batches, world, config.batch_size, examples), world)
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
            "step": checkpoint.step,
            "averaged": checkpoint.averaged,
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
    return counts


def _report_progress(batches: Iterable[T], world: World, batch_size: int, examples: int) -> Iterator[T]:
    """The same batches. Now and then, and after the last one, rank 0 prints how many all ranks have had, and how fast."""
    total, printed, since = -(-examples // batch_size), 0, time.monotonic()
    for number, batch in enumerate(batches, start=1):
        yield batch
        done = min(number * world.size, total)
        if number % BATCHES_BETWEEN_LINES == 0 or done == total:
            seconds = max(time.monotonic() - since, 1e-9)
            rate = (min(done * batch_size, examples) - printed * batch_size) / seconds
            speed = f"({rate:.1f} examples/sec; {seconds / (done - printed):.3f}sec/batch)"
            print_on_root(world, f"{datetime.now()}: [{done} batches out of {total}] {speed}")
            printed, since = done, time.monotonic()


def result_line(counts: TopKCounts, num_classes: int) -> str:
    """The counts, with a note where recall@5 has no meaning; `num_classes` includes the background class."""
    if num_classes > 5:
        return str(counts)
    return f"{counts} (recall @ 5 is always 1 for {num_classes} classes, background included)"


def _load_inputs(config: EvalConfig, world: World) -> tuple[Manifest, RecordIndex, Checkpoint]:
    """Manifest, record index of the split, and the newest checkpoint.

    Raises:
        DataError: the split is empty, or there is no data set.
        CheckpointError: there is no checkpoint, or it is of other classes.
    """
    manifest, records = open_data_set(config.data_dir, world)
    if not manifest.examples(config.subset):
        raise _empty_split_error(config.data_dir, manifest, config.subset)
    newest = find_newest(config, manifest)
    if newest is None and not config.run_once:
        print_on_root(world, f"No checkpoint file found in {config.checkpoint_dir}: waiting for one.")
        newest = _wait_for_checkpoint(config, manifest, world)
    if newest is None:
        raise no_checkpoint_error(config)
    return manifest, records[config.subset], newest


def _wait_for_checkpoint(config: EvalConfig, manifest: Manifest, world: World, last_step: int | None = None) -> Checkpoint:
    """The newest checkpoint, when it is another one than that of `last_step`."""
    while True:
        for _ in range(config.eval_interval_secs):
            world.guard.heartbeat("waiting for a checkpoint")
            time.sleep(1)
        newest = find_newest(config, manifest)
        if newest and newest.step != last_step:
            return newest


def _empty_split_error(data_dir: Path, manifest: Manifest, subset: Split) -> DataError:
    others = [split for split in SPLITS if manifest.examples(split)]
    advice = [f"pass --subset {split}" for split in others]
    if subset == "validation":
        advice.insert(0, "build the data set again with --validation_fraction 0.2")
    text = ", or ".join(advice) or "build the data set again"
    return DataError(f"The {subset} split of {data_dir} is empty.", f"{text[0].upper()}{text[1:]}.")
