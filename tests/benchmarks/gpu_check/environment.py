"""What this machine and its installation are: the first part of launch/gpu_check.sh.

It prints more and more, so that what breaks hides nothing that came before.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from shardtune.doctor import host, probes
from shardtune.runtime.versions import package_versions

SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


def main() -> None:
    found: dict[str, Any] = {}

    def add(**facts: Any) -> None:
        found.update(facts)
        sys.stdout.write(json.dumps(found, default=str) + "\n")
        sys.stdout.flush()

    add(
        versions=package_versions(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        nvidia_smi=nvidia_smi(),
    )
    add(**probes.tensorflow_facts(), **gpu_facts())
    add(doctor=[dataclasses.asdict(finding) for finding in host.check_host(Path(), os.environ)])
    add(**probes.horovod_facts())


def nvidia_smi() -> list[str]:
    """Name, driver and memory of each GPU, as its driver reports them."""
    if not shutil.which(SMI[0]):
        return []
    return subprocess.run(SMI, capture_output=True, text=True, check=True).stdout.splitlines()


def gpu_facts() -> dict[str, Any]:
    """What TensorFlow was built for, and the GPUs that it sees."""
    from shardtune.runtime.frameworks import tf

    gpus = tf.config.list_physical_devices("GPU")
    return {
        "tensorflow_build": dict(tf.sysconfig.get_build_info()),
        "devices": [tf.config.experimental.get_device_details(gpu) for gpu in gpus],
    }


if __name__ == "__main__":
    main()
