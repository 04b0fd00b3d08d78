"""One evaluation: from a network with the weights of a checkpoint to predictions.csv, eval.json and events.

The parts are for other commands, too: `central_crop` (input/augment.py) makes the images of a network, `Evaluator.logits` runs
it, `Predictions.from_logits` makes probabilities of its logits, and `read_result` reads what an evaluation has left.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from shardtune.dataset.manifest import Manifest
from shardtune.errors import CheckpointError, DataError
from shardtune.evaluate.checkpoint_source import Checkpoint
from shardtune.evaluate.config import EvalConfig
from shardtune.evaluate.counts import TopKCounts
from shardtune.evaluate.evaluator import Evaluator
from shardtune.evaluate.events import write_events
from shardtune.evaluate.names import NamingReader
from shardtune.evaluate.predictions import BACKGROUND, Predictions, write_predictions
from shardtune.evaluate.result import RESULT_NAME, Result, measure, write_result
from shardtune.evaluate.temperature import LogitsFile, fit_temperature
from shardtune.input.pipeline import EvaluationBatch, InputOptions, evaluation_batches
from shardtune.model.checkpoint_file import RUN_CONFIG_NAME
from shardtune.runtime.files import hash_file, sha256_file
from shardtune.runtime.progress import print_on_root
from shardtune.runtime.world import World

BATCHES_BETWEEN_LINES = 20
BATCHES_PER_GATHER = 20  # a second or more: the exchange costs little, and no rank gets far ahead
T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """Evaluates checkpoints of one run on one split.

    Attributes:
        data_dir: of the split.
        eval_dir: where the results go.
        reader: of the split.
        evaluator: of the network into which the weights of a checkpoint are restored.
        provenance: of the results: what is the same for every checkpoint.
    """

    config: EvalConfig
    world: World
    data_dir: Path
    eval_dir: Path
    manifest: Manifest
    reader: NamingReader
    evaluator: Evaluator
    options: InputOptions
    provenance: dict[str, Any]

    def run(self, checkpoint: Checkpoint) -> Result:
        """Evaluate the checkpoint, which the network has; print the result, write it to `eval_dir`, return it on every rank.

        Raises:
            DataError: all examples are corrupt.
            CheckpointError: the network does not compute finite numbers.
        """
        config, world = self.config, self.world
        # Not later: training deletes old checkpoints meanwhile.
        digests = world.run_on_root(lambda: self._prepare(checkpoint))
        examples = min(len(self.reader), config.num_examples or len(self.reader))
        batches = evaluation_batches(self.reader, world, self.options, batch_size=config.batch_size, examples=examples)
        print_on_root(world, f"{datetime.now()}: starting evaluation on ({config.subset}).")
        started = time.monotonic()
        with closing(batches), closing(LogitsFile()) as logits_file:
            predictions = self._predict(
                report_progress(batches, world, config.batch_size, examples), logits_file, checkpoint.path
            )
            seconds = time.monotonic() - started
            temperature = fit_temperature(logits_file, world)
        corrupt = sorted(set().union(*world.allgather(self.reader.corrupt)))

        def finish() -> Result:
            if not predictions:
                raise DataError(
                    f"All {examples} evaluated record(s) of {self.data_dir} are corrupt.",
                    f"Run shardtune verify {self.data_dir} to see what is damaged.",
                )
            result = {
                **measure(predictions, self._class_names),
                "temperature": temperature,
                "corrupt_records": examples - len(predictions),
                "subset": config.subset,
                "step": checkpoint.step,
                "averaged": checkpoint.averaged,
                "image_size": checkpoint.image_size,
                "images_per_second": round(examples / seconds, 2),
                "provenance": {**self.provenance, "checkpoint": str(checkpoint.path), **digests.get()},
            }
            result = self._write(predictions, result)
            self._print(predictions.counts, result)
            if corrupt:
                print_on_root(
                    world,
                    f"{examples - len(predictions)} corrupt record(s) were left out: the first is "
                    f"{self.reader.describe_record(corrupt[0])}.",
                    level=logging.WARNING,
                )
            return result

        return world.broadcast_from_root(finish)

    @property
    def _class_names(self) -> list[str]:
        return [BACKGROUND, *self.manifest.titles]

    def _prepare(self, checkpoint: Checkpoint) -> dict[str, str | None]:
        """Make `eval_dir`, so that it is known now whether that is possible; returns the digests of the checkpoint."""
        self.eval_dir.mkdir(parents=True, exist_ok=True)
        return _digests(checkpoint)

    def _predict(self, batches: Iterable[EvaluationBatch], logits_file: LogitsFile, checkpoint: Path) -> Predictions:
        """The predictions of all ranks, on rank 0; elsewhere none. All logits of this rank go to `logits_file`."""
        gathered = [Predictions.none(len(self._class_names))]
        pending: list[Predictions] = []

        def gather() -> None:
            parts = self.world.allgather(pending)
            if self.world.is_root:
                gathered.extend(part for rank_parts in parts for part in rank_parts)
            pending.clear()

        for number, (examples, labels, logits) in enumerate(self.evaluator.run(batches, self.world), start=1):
            if not np.isfinite(logits).all():
                raise CheckpointError(
                    f"The network of {checkpoint} does not compute finite numbers.", "Evaluate another one: --checkpoint STEP."
                )
            logits_file.add(labels, logits)
            files = [self.reader.names.pop(example) for example in examples.tolist()]
            pending.append(Predictions.from_logits(examples, files, labels, logits))
            if number % BATCHES_PER_GATHER == 0:
                gather()
        gather()
        return Predictions.concatenate(gathered)

    def _write(self, predictions: Predictions, result: Result) -> Result:
        """Write the result, with the digest of the predictions, which are written before; returns it."""
        path = write_predictions(self.eval_dir, predictions, self._class_names)
        result = {**result, "provenance": {**result["provenance"], "predictions_sha256": sha256_file(path)}}
        write_events(
            self.eval_dir,
            result["step"],
            {"Precision @ 1": result["precision_at_1"], "Recall @ 5": result["recall_at_5"]},
        )
        write_result(self.eval_dir, result)
        return result

    def _print(self, counts: TopKCounts, result: Result) -> None:
        low, high = result["precision_at_1_interval"]
        temperature = result["temperature"]
        figures = [
            f"95 % interval of precision @ 1: {low:.4f} to {high:.4f}",
            f"loss {result['loss']:.4f}",
            f"expected calibration error {result['expected_calibration_error']:.4f}",
            *([] if temperature is None else [f"temperature {temperature:.3f}"]),
        ]
        print_on_root(self.world, f"{datetime.now()}: {result_line(counts, self.manifest.num_classes)}")
        print_on_root(self.world, f"{'; '.join(figures)}. All figures: {self.eval_dir / RESULT_NAME}.")


def _digests(checkpoint: Checkpoint) -> dict[str, str | None]:
    """SHA-256 of the files of a checkpoint, as if they were one, and of the configuration of its run, if it has one."""
    digest, config = hashlib.sha256(), checkpoint.directory / RUN_CONFIG_NAME
    for path in checkpoint.files:
        hash_file(path, digest)
    return {"checkpoint_sha256": digest.hexdigest(), "config_sha256": sha256_file(config) if config.exists() else None}


def report_progress(batches: Iterable[T], world: World, batch_size: int, examples: int) -> Iterator[T]:
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
