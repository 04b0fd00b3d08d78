"""Logits of Inception v3 on the device in each precision, beside those of the cores in float32: a part of launch/gpu_check.sh.

Weights and photographs are those of 2016 where the reference data lie beside the repository; the logits of the graph of 2016
are then compared too. Elsewhere weights are random, of a size that keeps activations as large as their inputs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from shardtune.model import inception, pretrained
from shardtune.runtime import devices
from shardtune.runtime.frameworks import tf
from shardtune.runtime.world import World
from tests.benchmarks.gpu_check import SIDE, SMALL_SIDE

RELEASE = Path(__file__).parents[4] / "shared" / "data" / "inception-v3-2016-03-01"
PRECISIONS = ("float32", "tf32", "mixed_bfloat16", "mixed_float16")
CLASSES = 1001
FLOAT32_LIMIT = 1e-3  # of the relative difference: more than rounding and less than what half precision does


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--save", type=Path, help="save the logits in --precision to this file, and compare nothing")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    if options.save:
        devices.configure_devices(World(), tf32=options.precision == "tf32")
        np.save(options.save, logits(options.precision, small=options.small))
        return 0
    size = ("--small",) if options.small else ()
    # A process that sees no GPU cannot use one by mistake, and none uses what cuDNN chose for another precision.
    jobs = {precision: start(precision, *size) for precision in PRECISIONS}
    expected = finish(start("float32", *size, CUDA_VISIBLE_DEVICES=""))
    if expected is None:
        raise SystemExit("The logits of the cores are missing.")
    found = {precision: finish(job) for precision, job in jobs.items()}
    result: dict[str, Any] = {"weights": "of 2016" if has_release(options.small) else "random"}
    result["beside_cores"] = {name: compare(each, expected) for name, each in found.items() if each is not None}
    if has_release(options.small) and found["float32"] is not None:
        result["beside_2016"] = compare(found["float32"], np.load(RELEASE / "golden.npz")["logits"])
    sys.stdout.write(json.dumps(result) + "\n")
    is_right = all(each is not None and np.isfinite(each).all() for each in found.values())
    is_right = is_right and result["beside_cores"]["float32"]["relative"] < FLOAT32_LIMIT
    if not is_right:
        sys.stderr.write(f"Logits are missing or not finite, or those in float32 differ by {FLOAT32_LIMIT} or more.\n")
    return int(not is_right)


def start(precision: str, *flags: str, **environment: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A process that computes logits, and the file in which they will be."""
    path = Path(tempfile.mkdtemp()) / "logits.npy"
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.gpu_check.outputs",
        "--precision",
        precision,
        "--save",
        str(path),
        *flags,
    ]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=sys.stderr), path


def finish(job: tuple[subprocess.Popen[bytes], Path]) -> Any:
    """The logits of `start`, when they are there; None if the process failed."""
    process, path = job
    return None if process.wait() else np.load(path)


def has_release(small: bool) -> bool:
    """Whether weights and photographs of 2016 are used, which are for 299 pixels."""
    return not small and RELEASE.is_dir()


def compare(found: Any, expected: Any) -> dict[str, float]:
    """The largest difference, also relative to the largest value, and the share of images whose top class is the same."""
    difference = float(np.abs(found - expected).max())
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    return {
        "difference": difference,
        "relative": difference / float(np.abs(expected).max()),
        "same_top_class": float(same.mean()),
    }


def logits(precision: str, *, small: bool) -> Any:
    """Logits of a few images, float32 [images, CLASSES]."""
    side = SMALL_SIDE if small else SIDE
    model = inception.build(CLASSES, side, precision="float32" if precision == "tf32" else precision)  # type: ignore[arg-type]
    if has_release(small):
        pretrained.restore(model, RELEASE)
        images = np.load(RELEASE / "golden.npz")["images"].astype(np.float32) / 127.5 - 1
    else:
        fill(model)
        images = np.random.default_rng(1).uniform(-1, 1, (4, side, side, 3)).astype(np.float32)
    return tf.function(lambda batch: model(batch, training=False)["logits"], autograph=False)(images).numpy()


def fill(model: Any) -> None:
    """Random kernels as He et al. 2015 (arXiv:1502.01852) scale them; the rest stays as it is built."""
    generator = np.random.default_rng(0)
    for name, variable in inception.named_variables(model).items():
        if name.endswith("/weights"):
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(generator.normal(0, np.sqrt(2 / fan_in), variable.shape).astype(np.float32))


if __name__ == "__main__":
    sys.exit(main())
