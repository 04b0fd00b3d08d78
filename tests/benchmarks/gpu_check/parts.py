"""The parts of the check, the most important ones first: the time may end before the last."""

import sys
from collections.abc import Iterator

from shardtune.supervise.launchers import LAUNCHER_ENVIRONMENT, choose_horovodrun
from tests.benchmarks.gpu_check.runner import Part

PACKAGE = "tests.benchmarks.gpu_check"
ENVIRONMENT = Part("environment", (sys.executable, "-m", f"{PACKAGE}.environment"), 0.15)
FIRST_RATES = (("none", "float32"), ("none", "tf32"), ("none", "mixed_bfloat16"), ("all", "mixed_bfloat16"))
LATER_RATES = (("update", "mixed_bfloat16"), ("none", "mixed_float16"), ("all", "mixed_float16"), ("all", "float32"))
# What cuDNN needs to be told before it normalises channels-last batches in one pass; whether that helps is to be seen.
PERSISTENT = {"TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT": "1"}


def list_parts(gpus: int, *, small: bool) -> Iterator[Part]:
    """All parts but the first.

    Args:
        gpus: that TensorFlow sees; 0 for a check of the cores.
    """
    size = ("--small",) if small else ()

    def part(name: str, module: str, share: float, *flags: str) -> Part:
        return Part(name, (sys.executable, "-m", f"{PACKAGE}.{module}", *flags, *size), share)

    def rates(jit: str, precision: str) -> Part:
        share = 0.25 if jit == "all" else 0.12  # XLA compiles the network for minutes
        return part(f"rates --jit {jit} --precision {precision}", "rates", share, "--jit", jit, "--precision", precision)

    yield part("outputs", "outputs", 0.15)
    for pair in FIRST_RATES:
        yield rates(*pair)
    yield part("determinism", "determinism", 0.25)
    for count in worker_counts(gpus):
        worker = part(f"workers {count}", "workers", 0.15)
        launcher = choose_horovodrun((), count, "", lambda host: True)
        yield Part(worker.name, (*launcher, *worker.command), worker.share, LAUNCHER_ENVIRONMENT)
    yield part("real data", "photographs", 0.15)
    for pair in LATER_RATES:
        yield rates(*pair)
    for precision in ("mixed_bfloat16", "float32"):
        yield part(f"largest batch --precision {precision}", "largest", 0.25, "--precision", precision)
    for precision in ("float32", "mixed_bfloat16"):
        plain = rates("none", precision)
        yield Part(f"{plain.name}, persistent batch norm", plain.command, plain.share, PERSISTENT)


def worker_counts(gpus: int) -> list[int]:
    """1, then all GPUs, then the powers of two between; on cores 1 and 2."""
    if not gpus:
        return [1, 2]
    powers = [2**power for power in range(1, gpus.bit_length()) if 2**power < gpus]
    return [1, *([gpus] if gpus > 1 else []), *reversed(powers)]
