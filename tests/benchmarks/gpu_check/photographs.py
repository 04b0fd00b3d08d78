"""Training on photographs, beside which the rate on synthetic images can be held: a part of launch/gpu_check.sh."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.gpu_check import SIDE, SMALL_SIDE
from tests.distributed.training import INCEPTION, command
from tests.pictures import encoded, picture

FLOWERS = Path(__file__).parents[4] / "shared" / "data" / "flowers" / "train"  # where the reference data are
GENERATED, CLASSES = 256, ("a", "b")
WIDTH, HEIGHT = 500, 375  # of most photographs of ImageNet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    precision, batch_size, steps = ("float32", 4, 6) if small else ("mixed_bfloat16", 64, 100)
    folder = Path(tempfile.mkdtemp())
    data, run = folder / "data", folder / "run"
    photographs = FLOWERS if FLOWERS.is_dir() else generate(folder / "photographs")
    build = ["shardtune", "build", "--train_directory", photographs, "--output_directory", data, "--train_shards", "8"]
    subprocess.run([sys.executable, "-m", *build, "--check", "header"], check=True, stdout=sys.stderr)
    flags = ("--image_size", SMALL_SIDE if small else SIDE, "--batch_size", batch_size, "--max_steps", steps)
    flags += ("--precision", precision, "--log_every", steps // 2)
    subprocess.run(command(data, run, *flags, body=INCEPTION), check=True, stdout=sys.stderr)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    names = ("images_per_second", "step_seconds", "input_share")
    files = [path.stat().st_size for path in photographs.rglob("*.jpg")]
    result = {
        **{name: last[name] for name in names},
        "precision": precision,
        "batch_size": batch_size,
        "photographs": "flower" if photographs == FLOWERS else "generated",
        "mean_bytes": round(sum(files) / len(files)),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def generate(directory: Path) -> Path:
    """Write pictures with the size and the grain of photographs, about 50 KB each; returns `directory`."""
    generator = np.random.default_rng(0)
    for number in range(GENERATED):
        grain = generator.normal(0, 8, (HEIGHT, WIDTH, 1))
        pixels = np.clip(np.asarray(picture(generator, WIDTH, HEIGHT)) + grain, 0, 255).astype(np.uint8)
        path = directory / CLASSES[number % len(CLASSES)] / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(pixels), quality=85))
    return directory


if __name__ == "__main__":
    main()
