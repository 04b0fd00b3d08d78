"""`shardtune build` beside other writers, all in one run on the same photographs, each a whole process.

usage: python -m tests.benchmarks.build IMAGES [--others PYTHON] [--copies 5] [--rounds 5]

IMAGES has one folder a class; of each image COPIES are taken. PYTHON is an interpreter with the packages of
tests/benchmarks/requirements.txt (by default this one); without them it fails. The times are of whole processes, imports
included, which weigh most where there are few images. They are medians; rounds are interleaved, so that what disturbs the
machine disturbs all alike.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.faults.injector import Injector
from tests.launching import ENVIRONMENT, LAUNCHERS

OTHERS = Path(__file__).with_name("others.py")


def seconds(command: list[str], environment: Mapping[str, str]) -> tuple[float, str]:
    started = time.monotonic()
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT, **environment}, capture_output=True, text=True, check=True)
    return time.monotonic() - started, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--others", default=sys.executable)
    parser.add_argument("--copies", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measure(replicated(arguments.images, folder / "images", arguments.copies), folder, arguments.others, arguments.rounds)


def replicated(images: Path, target: Path, copies: int) -> Path:
    for path in images.glob("*/*"):
        for copy in range(copies):
            place = target / path.parent.name / f"{copy}-{path.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    return target


def measure(images: Path, folder: Path, others: str, rounds: int) -> None:
    one = folder / "one" / "class"
    one.mkdir(parents=True)
    shutil.copy(next(images.glob("*/*")), one)
    count, output = len(list(images.glob("*/*"))), folder / "output"

    def ours(tree: Path, check: str, ranks: int) -> list[str]:
        launcher = LAUNCHERS["mpirun" if ranks > 1 else "alone"](ranks)
        flags = ["--train_directory", str(tree), "--output_directory", str(output), "--train_shards", "8", "--check", check]
        return [*launcher, sys.executable, "-m", "shardtune", "build", *flags]

    runs = {
        "one image": ours(one.parent, "full", 1),
        "full, 1 rank": ours(images, "full", 1),
        "full, 2 ranks": ours(images, "full", 2),
        "header, 1 rank": ours(images, "header", 1),
        "header, 2 ranks": ours(images, "header", 2),
        "5 ms a file, 1 rank": ours(images, "full", 1),
        "20 ms a file, 1 rank": ours(images, "full", 1),
        "decode only": [sys.executable, str(OTHERS), "decode", str(images), str(output)],
        "MDSWriter": [others, str(OTHERS), "mds", str(images), str(output)],
        "webdataset ShardWriter": [others, str(OTHERS), "webdataset", str(images), str(output)],
        "tf.io.TFRecordWriter": [sys.executable, str(OTHERS), "tensorflow", str(images), str(output)],
    }
    # As on slow storage: to open an image, or ask for its status, takes longer. Preloaded, because FUSE is slow itself.
    injector = Injector.compile(folder)
    environments = {f"{ms} ms a file, 1 rank": injector.slow(images, 1000 * ms) for ms in (5, 20)}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    decode_rates = []
    for _ in range(rounds):
        for name, command in runs.items():
            shutil.rmtree(output, ignore_errors=True)
            spent, printed = seconds(command, environments.get(name, {}))
            taken[name].append(spent)
            if name == "decode only":
                decode_rates.append(float(printed))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    rate = count / (medians["full, 1 rank"] - medians["one image"])
    print(f"{count} images, medians of {rounds} rounds, whole processes:")
    for name, value in medians.items():
        if name != "decode only":
            print(f"  {name:24} {value:6.2f} s   {value / medians['header, 1 rank']:5.2f} × header, 1 rank")
    print(f"start to first image, and all that follows the last: {medians['one image']:.2f} s")
    bare = statistics.median(decode_rates)
    for name in environments:
        print(f"{name}: {count / (medians[name] - medians['one image']) / rate:.2f} × the rate without")
    print(f"decode-only loop {bare:.0f} images/s; one rank without start-up {rate:.0f} images/s, {rate / bare:.2f} of it")


if __name__ == "__main__":
    main()
