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
from tests.benchmarks.gpu_check.synthetic import SIDE, SMALL_SIDE

RELEASE = Path(__file__).parents[4] / "shared" / "data" / "inception-v3-2016-03-01"
PRECISIONS = ("float32", "tf32", "mixed_bfloat16", "mixed_float16")
CLASSES = 1001
FLOAT32_LIMIT = 1e-3  # of the relative difference: more than rounding and less than what half precision does


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--save", type=Path, help="save the logits in float32 to this file, and compare nothing")
    options = parser.parse_args()
    devices.configure_devices(World())
    if options.save:
        np.save(options.save, logits("float32", small=options.small))
        return 0
    path = Path(tempfile.mkdtemp()) / "logits.npy"
    # A process that sees no GPU cannot use one by mistake.
    command = [sys.executable, "-m", "tests.benchmarks.gpu_check.outputs", "--save", path]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    reference = subprocess.Popen([*command, *(["--small"] if options.small else [])], env=environment, stdout=sys.stderr)
    found = {precision: logits(precision, small=options.small) for precision in PRECISIONS}
    if status := reference.wait():
        raise SystemExit(f"The logits of the cores are missing: status {status}.")
    expected = np.load(path)
    beside_cores = {precision: compare(found[precision], expected) for precision in PRECISIONS}
    result: dict[str, Any] = {"weights": "of 2016" if has_release(options.small) else "random", "beside_cores": beside_cores}
    if has_release(options.small):
        result["beside_2016"] = compare(found["float32"], np.load(RELEASE / "golden.npz")["logits"])
    sys.stdout.write(json.dumps(result) + "\n")
    is_right = beside_cores["float32"]["relative"] < FLOAT32_LIMIT and all(np.isfinite(each).all() for each in found.values())
    if not is_right:
        sys.stderr.write(f"Logits in float32 differ by {FLOAT32_LIMIT} or more, or some are not finite.\n")
    return int(not is_right)


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
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
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
