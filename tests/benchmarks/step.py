"""Images per second of the training step at 299 pixels: what precision and freezing are worth. The table is Markdown.

usage: python -m tests.benchmarks.step [--batch_size 16] [--rounds 5]

Rounds are interleaved, so that what disturbs the machine disturbs all alike; the best of each counts.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shardtune.model import inception
from shardtune.model.batchnorm import BatchNormMode, BatchNormOptions
from shardtune.runtime.world import World
from shardtune.train.config import TrainConfig
from shardtune.train.state import TrainState
from shardtune.train.step import TrainStep

CLASSES, SIDE = 6, 299


def stepper(
    batch_size: int, precision: inception.Precision, batch_norm: BatchNormMode, frozen: str | None
) -> Callable[[], float]:
    """A function that takes a step and returns its seconds."""
    model = inception.build(CLASSES, SIDE, precision=precision, batch_norm=BatchNormOptions(batch_norm), freeze_until=frozen)
    config = TrainConfig(Path(), Path(), batch_size=batch_size)
    step = TrainStep(TrainState(model, config), World(), config, batch_size)
    images = np.random.default_rng(0).uniform(-1, 1, (batch_size, SIDE, SIDE, 3)).astype(np.float32)
    labels = np.ones(batch_size, np.int64)

    def seconds() -> float:
        began = time.monotonic()
        step([(images, labels)], 0, 0.0, stop_requested=False)()
        return time.monotonic() - began

    seconds()  # compiles
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    kinds: list[tuple[inception.Precision, BatchNormMode, str | None]] = [
        ("float32", "per_worker", None),
        ("float32", "synced", None),
        ("float32", "frozen", None),
        ("float32", "per_worker", "mixed8"),
        ("float32", "per_worker", inception.WHOLE_TRUNK),
        ("mixed_bfloat16", "per_worker", None),
        ("mixed_bfloat16", "per_worker", "mixed8"),
        ("mixed_bfloat16", "per_worker", inception.WHOLE_TRUNK),
    ]
    steppers = [stepper(arguments.batch_size, *kind) for kind in kinds]
    best = [min(seconds) for seconds in zip(*([step() for step in steppers] for _ in range(arguments.rounds)), strict=True)]
    print("| --precision | --batch_norm | frozen up to | images/s |\n|---|---|---|---|")
    for (precision, batch_norm, frozen), seconds in zip(kinds, best, strict=True):
        print(f"| {precision} | {batch_norm} | {frozen or '–'} | {arguments.batch_size / seconds:.1f} |")


if __name__ == "__main__":
    main()
