"""The calls of NVIDIA's driver, against a library that has them and does what its documentation says."""

import subprocess
from pathlib import Path

import pytest

from tests.launching import run, sys

# Two GPUs, 0 and 1, whose handles are other numbers. All bytes of a UUID are equal, and tell function and device.
DRIVER = """
#include <string.h>
static int has_started;
int cuInit(unsigned flags) { has_started = flags == 0; return INIT; }
int cuDeviceGet(int *device, int ordinal) {
  if (!has_started) return 3;
  if (ordinal < 0 || ordinal > 1) return 101;
  *device = 0x10 + ordinal;
  return 0;
}
int OLD(void *uuid, int device) { memset(uuid, 0xa0 - 0x10 + device, 16); return 0; }
int NEW(void *uuid, int device) { memset(uuid, 0xb0 - 0x10 + device, 16); return 0; }
"""
OLD, NEW = "-DOLD=cuDeviceGetUuid", "-DNEW=cuDeviceGetUuid_v2"


def uuid(byte: str) -> str:
    return "-".join(byte * count for count in (4, 2, 2, 2, 6))


@pytest.mark.parametrize(
    ("definitions", "expected"),
    [
        ([OLD, NEW, "-DINIT=0"], [uuid("b0"), uuid("b1"), "None"]),
        ([OLD, "-DINIT=0"], [uuid("a0"), uuid("a1"), "None"]),
        (["-DINIT=0"], ["None"] * 3),
        ([OLD, NEW, "-DINIT=100"], ["None"] * 3),  # CUDA_ERROR_NO_DEVICE
        (None, ["None"] * 3),  # no driver
    ],
)
def test_the_uuid_of_a_gpu(definitions: list[str] | None, expected: list[str], tmp_path: Path) -> None:
    library = tmp_path / "libcuda.so.1"
    if definitions is not None:
        subprocess.run(
            ["gcc", "-shared", "-fPIC", *definitions, "-xc", "-", "-o", library], input=DRIVER, text=True, check=True
        )
    code = "from shardtune.runtime.cuda_driver import find_gpu_uuid; print(*map(find_gpu_uuid, range(3)))"
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    done = run([sys.executable, "-c", code], launcher="alone", ranks=1, timeout=60, environment=environment)
    assert (done.returncode, done.stdout.split()) == (0, expected), done.stdout
