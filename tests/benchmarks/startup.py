"""How long commands take to start, beside what they cannot do without: `python -m tests.benchmarks.startup IMAGES`.

IMAGES has one folder a class. Medians of rounds in which all take turns, whole processes. The base of `--help` is a Python that
does nothing; that of `build`, one that imports what it needs; that of `predict`, TensorFlow, Keras's Inception v3 without
weights, and one image through it; that of `train`, the same and one step of its own with two images.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.launching import ENVIRONMENT, LAUNCHERS

ROUNDS = 5
QUIET = {**ENVIRONMENT, "TF_CPP_MIN_LOG_LEVEL": "3"}
NETWORK = "import tensorflow as tf; network = tf.keras.applications.InceptionV3(weights=None)"
BASES = {
    "python": "",
    "packages of build": "import numpy, PIL.Image, google_crc32c, xxhash, rich.progress, tyro",
    "an inference": f"{NETWORK}; tf.function(network)(tf.zeros([1, 299, 299, 3]))",
    "a step": f"""
{NETWORK}
@tf.function
def step():
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(tf.zeros([2, 299, 299, 3]), training=True))
    for variable, gradient in zip(network.trainable_variables, tape.gradient(loss, network.trainable_variables)):
        variable.assign_sub(gradient)
step()
""",
}


def main(images: Path) -> None:
    image = next(path for path in sorted(images.glob("*/*")) if path.is_file())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "one" / "class").mkdir(parents=True)
        shutil.copy(image, folder / "one" / "class")
        data, run = folder / "data", folder / "run"
        flags = ("--data_dir", data, "--batch_size", 2, "--max_steps", 1, "--validate_epochs", 0)
        seconds(shardtune("build", "--train_directory", images, "--output_directory", data, "--check", "header"))
        seconds(shardtune("train", *flags, "--train_dir", run))
        builds = ("--train_directory", folder / "one", "--train_shards", 1, "--output_directory", folder / "new")
        trains = (*flags, "--train_dir", folder / "new")
        rows = {
            "shardtune --help": ("python", shardtune("--help")),
            "build of one image": ("packages of build", shardtune("build", *builds)),
            "predict of one image": ("an inference", shardtune("predict", image, "--checkpoint_dir", run)),
            "train of one step, 1 worker": ("a step", shardtune("train", *trains)),
            "train of one step, 2 workers": ("a step", shardtune("train", *trains, ranks=2)),
        }
        taken: dict[str, list[float]] = {name: [] for name in (*BASES, *rows)}
        for _ in range(ROUNDS):
            for base, code in BASES.items():
                taken[base].append(seconds([sys.executable, "-c", code]))
            for name, (_, line) in rows.items():
                taken[name].append(seconds(line))
                shutil.rmtree(folder / "new", ignore_errors=True)
    for name, (base, _) in rows.items():
        own, bare = statistics.median(taken[name]), statistics.median(taken[base])
        sys.stdout.write(f"{name:30} {own:6.2f} s   {base:18} {bare:6.2f} s   {own / bare:5.2f} ×\n")


def shardtune(*arguments: object, ranks: int = 1) -> list[str]:
    launcher = LAUNCHERS["mpirun"](ranks) if ranks > 1 else []
    return [*launcher, sys.executable, "-m", "shardtune", *map(str, arguments)]


def seconds(line: Sequence[str]) -> float:
    """How long a command takes."""
    began = time.monotonic()
    subprocess.run(line, env=QUIET, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]))
