"""What a pretrained checkpoint, and the decay of the moving statistics, are worth: the same short run from several starts.

usage: python -m tests.benchmarks.pretrained PHOTOS CHECKPOINT [--steps 80]

PHOTOS has train/ and validation/ with one folder a class in each. Everything trains, at 299 pixels. The table is Markdown.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.launching import shardtune

FLAGS = ("--batch_size", 16, "--initial_learning_rate", 0.01, "--precision", "mixed_bfloat16")
RUNS = [("checkpoint", 0.9), ("random weights", 0.9), ("checkpoint", 0.99), ("random weights", 0.99), ("checkpoint", 0.9997)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=80)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        directories = (
            "--train_directory",
            arguments.photos / "train",
            "--validation_directory",
            arguments.photos / "validation",
        )
        shardtune("build", *directories, "--output_directory", folder / "data", "--train_shards", 8, "--validation_shards", 2)
        print(f"Precision@1 after {arguments.steps} steps ({' '.join(map(str, FLAGS))})\n")
        print("| start | --batch_norm_decay | averaged weights | --no_ema | seconds |\n|---|---|---|---|---|")
        for number, (start, decay) in enumerate(RUNS):
            pretrained = ("--fine_tune", "--pretrained_model_checkpoint_path", arguments.checkpoint)
            flags = (*FLAGS, "--batch_norm_decay", decay, "--max_steps", arguments.steps)
            run, began = folder / str(number), time.monotonic()
            data = ("--data_dir", folder / "data")
            chosen = pretrained if start == "checkpoint" else ()
            shardtune("train", *data, "--train_dir", run, *flags, *chosen, timeout=3600)
            seconds = time.monotonic() - began
            scores = [precision(data, run, weights) for weights in ("--ema", "--no_ema")]
            print(f"| {start} | {decay} | {scores[0]:.3f} | {scores[1]:.3f} | {seconds:.0f} |", flush=True)


def precision(data: tuple[object, ...], run: Path, weights: str) -> float:
    shardtune("eval", *data, "--checkpoint_dir", run, "--checkpoint", "last", "--eval_dir", run, weights)
    return float(json.loads((run / "eval.json").read_text())["precision_at_1"])


if __name__ == "__main__":
    main()
