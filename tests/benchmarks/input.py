"""The input pipeline beside an idiomatic tf.data one and the bare decode loop, all in one run on the same photographs.

usage: python -m tests.benchmarks.input IMAGES [--batches 100] [--rounds 5]

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

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.config import Augmentation
from shardtune.dataset.tfrecord import masked_crc32c
from shardtune.input.order import epoch_permutation
from shardtune.runtime.world import World
from tests.input.shards import repeated
from tests.launching import ENVIRONMENT

AUGMENTATIONS: tuple[Augmentation, ...] = ("none", "light", "inception")
KINDS = ("ours", "late", "idiomatic", "limit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary)
        build(BuildConfig(arguments.images, output_directory=data, train_shards=8, check="header"), World())
        compare(data, arguments.batches, arguments.rounds)
        tell_shares(data)
        tell_resume(data / "million")


def compare(data: Path, batches: int, rounds: int) -> None:
    """Print rate and memory of each pipeline."""
    results: dict[tuple[str, str], list[list[float]]] = {(kind, name): [] for name in AUGMENTATIONS for kind in KINDS}
    for _ in range(rounds):
        for (kind, name), figures in results.items():
            command = [sys.executable, "-m", "tests.benchmarks.pipelines", f"{kind}-{name}", str(data), str(batches)]
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
            figures.append([float(figure) for figure in done.stdout.split()])

    print(f"medians of {rounds} rounds of {batches} batches")
    for (kind, name), figures in results.items():
        rate, per_work, halfway, peak = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"  {name:9} {kind:9} {rate:5.0f} images/s {per_work:5.0f} per CPU second {peak:5.0f} MB ({halfway:.0f} halfway)")
    for name in AUGMENTATIONS:
        for other in KINDS[1:]:
            pairs = list(zip(results["ours", name], results[other, name], strict=True))
            rate, per_work, _, peak = (statistics.median(a[i] / b[i] for a, b in pairs) for i in range(4))
            text = f"{rate:.2f} × its rate, {per_work:.2f} × its rate per CPU second, {peak:.2f} × its memory"
            print(f"  {name:9} beside {other}: {text}")


def tell_shares(data: Path) -> None:
    """Print where the CPU time of one image goes, each part run alone on one thread."""
    import tensorflow as tf

    from shardtune.input.augment import central_crop, random_crop, training_image
    from shardtune.input.pipeline import example_seeds, parse
    from tests.benchmarks.pipelines import AREAS, SIZE, reader_of

    tf.config.threading.set_intra_op_parallelism_threads(1)
    reader = reader_of(data)
    indices = epoch_permutation(reader.shard_sizes, 0, 0)
    records = reader.read(indices)
    seeds = example_seeds(0, np.zeros_like(indices), indices)
    boxes = tf.zeros([0, 4])
    pairs = [(tf.constant(record), tf.constant(seed)) for record, seed in zip(records, seeds, strict=True)]

    def seconds(function: Callable[[Any, Any], Any]) -> float:
        signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)]
        traced = tf.function(function, autograph=False, input_signature=signature)
        return cpu_seconds(lambda: [traced(*pair) for pair in pairs])

    def jpeg_of(record: Any) -> Any:
        return parse(record, boxes=False)[0]

    crc = cpu_seconds(lambda: [masked_crc32c(record) for record in records])
    read = cpu_seconds(lambda: reader.read(indices)) - crc
    nothing, parsed = seconds(lambda record, seed: record), seconds(lambda record, seed: jpeg_of(record))
    for name in AUGMENTATIONS:
        if name == "none":  # what is resized to one pixel is little more than decoded
            decoded = seconds(lambda record, seed: central_crop(jpeg_of(record), 1))
        else:
            decoded = seconds(lambda record, seed, n=name: random_crop(jpeg_of(record), boxes, seed, min_area=AREAS[n]))
        whole = seconds(lambda record, seed, n=name: training_image(jpeg_of(record), boxes, SIZE, n, seed))
        parts = {"read": read, "CRC": crc, "parse": parsed - nothing, "decode": decoded - parsed, "augment": whole - decoded}
        total = sum(parts.values())
        text = ", ".join(f"{part} {spent / total:.1%}" for part, spent in parts.items())
        print(f"share of CPU time, {name}: {text}; {total / len(records) * 1e6:.0f} µs an image")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of the best of four."""

    def once() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return min(once() for _ in range(4))


def tell_resume(directory: Path) -> None:
    """Print how long the first batch takes at random places of a run over 1,000,000 examples, without TensorFlow's start."""
    from shardtune.input.pipeline import InputOptions, training_batches

    reader = repeated(directory, 1000, 1000)
    options = InputOptions(image_size=299, num_threads=2, augmentation="light")
    seconds = []
    for step in [0, *np.random.default_rng(0).integers(0, 10**7, 12).tolist()]:
        epoch_permutation.cache_clear()
        started = time.monotonic()
        next(training_batches(reader, World(), options, global_batch_size=32, first_step=step))
        seconds.append(time.monotonic() - started)
    text = f"{statistics.median(seconds[1:]):.2f} s, at most {max(seconds[1:]):.2f}"
    print(f"first batch at any position of 1,000,000 examples: median {text}")


if __name__ == "__main__":
    main()
