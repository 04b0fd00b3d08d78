"""The input pipeline beside an idiomatic tf.data one and the bare decode loop, all in one run on the same photographs.

usage: python -m tests.benchmarks.input IMAGES [--batches 150] [--rounds 5]

IMAGES has one folder a class. Each pipeline is a process of its own, batches of 32 at 299 pixels. Rounds are interleaved, so
that what disturbs the machine disturbs all alike; figures are medians over rounds, ratios those of the same round.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.build.builder import build
from shardtune.config import BuildConfig
from shardtune.dataset.tfrecord import masked_crc32c
from shardtune.input.order import epoch_order, global_batch
from shardtune.world import World
from tests.launching import ENVIRONMENT

OURS = ("inception", "light", "none")
OTHERS = ("idiomatic-crop", "idiomatic-light", "limit", "limit-batched")
AREAS = {"light": 0.35, "inception": 0.05}  # smallest crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--batches", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary)
        build(BuildConfig(arguments.images, data, train_shards=8, check="header"), World())
        compare(data, arguments.batches, arguments.rounds)
        tell_shares(data)
    tell_resume()


def compare(data: Path, batches: int, rounds: int) -> None:
    """Print rate and memory of each pipeline."""
    results: dict[str, list[list[float]]] = {name: [] for name in (*OURS, *OTHERS)}
    for _ in range(rounds):
        for name, figures in results.items():
            command = [sys.executable, "-m", "tests.benchmarks.pipelines", name, str(data), str(batches)]
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
            figures.append([float(figure) for figure in done.stdout.split()])

    def ratio(name: str, other: str, figure: int) -> float:
        return statistics.median(a[figure] / b[figure] for a, b in zip(results[name], results[other], strict=True))

    print(f"medians of {rounds} rounds of {batches} batches; × in images/s (in images per second of CPU time)")
    for name, figures in results.items():
        rate, per_work, peak = (statistics.median(column) for column in zip(*figures, strict=True))
        told = (f"{ratio(name, other, 0):5.2f} ({ratio(name, other, 1):4.2f}) × {other}" for other in OTHERS)
        print(f"  {name:16} {rate:5.0f} images/s {per_work:5.0f} a CPU second {peak:5.0f} MB " + "  ".join(told))


def tell_shares(data: Path) -> None:
    """Print where the CPU time of one image goes, each part run alone on one thread."""
    import tensorflow as tf

    from tests.benchmarks.pipelines import SIZE, augment, example_seeds, parse, reader_of

    reader = reader_of(data)
    indices = epoch_order(reader.shards, 0, 0)
    records = reader.read(indices)
    seeds = example_seeds(0, np.zeros_like(indices), indices)
    signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)]

    def each(function: Callable[[Any, Any], Any]) -> Callable[[], None]:
        traced = tf.function(function, autograph=False, input_signature=signature)
        pairs = [(tf.constant(record), tf.constant(seed)) for record, seed in zip(records, seeds, strict=True)]

        def work() -> None:
            for pair in pairs:
                traced(*pair)

        work()
        return work

    def jpeg_of(record: Any) -> Any:
        return parse(record, boxes=False)[0]

    boxes = tf.zeros([0, 4])
    spent = {
        "read": cpu_seconds(lambda: reader.read(indices)),
        "CRC": cpu_seconds(lambda: [masked_crc32c(record) for record in records]),
        "nothing": cpu_seconds(each(lambda record, seed: record)),
        "parse": cpu_seconds(each(lambda record, seed: jpeg_of(record))),
    }
    for name, area in AREAS.items():
        spent[f"{name} decode"] = cpu_seconds(each(lambda r, s, a=area: augment.random_crop(jpeg_of(r), boxes, s, min_area=a)))
        spent[name] = cpu_seconds(each(lambda r, s, n=name: augment.training_image(jpeg_of(r), boxes, SIZE, n, s)))
    for name in AREAS:
        parts = {
            "read": spent["read"] - spent["CRC"],
            "CRC": spent["CRC"],
            "parse": spent["parse"] - spent["nothing"],
            "decode": spent[f"{name} decode"] - spent["parse"],
            "augment": spent[name] - spent[f"{name} decode"],
        }
        told = ", ".join(f"{part} {seconds / sum(parts.values()):.1%}" for part, seconds in parts.items())
        print(f"share of CPU time, {name}: {told}; {sum(parts.values()) / len(records) * 1e6:.0f} µs an image")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of the best of three."""

    def once() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return min(once() for _ in range(3))


def tell_resume() -> None:
    """Print how long the first global batch takes at random places of a run over 1,000,000 examples."""
    seconds = []
    for step in np.random.default_rng(0).integers(0, 10**7, 20).tolist():
        started = time.monotonic()
        global_batch([977] * 1023 + [529], 0, step, 256)
        seconds.append(time.monotonic() - started)
    print(f"order at any position of 1,000,000 examples: {max(seconds):.3f} s at most")


if __name__ == "__main__":
    main()
