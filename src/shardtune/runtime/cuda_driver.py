"""What NVIDIA's driver says of a GPU, through the library that it installs. No memory of the GPU is used."""

import ctypes
import uuid

LIBRARY = "libcuda.so.1"


def find_gpu_uuid(ordinal: int) -> str | None:
    """The UUID of a GPU, as `nvidia-smi -L` shows it after GPU- or MIG-; None if the driver cannot be asked.

    The calls are those of the CUDA driver API, sections Initialization and Device Management.

    Args:
        ordinal: its number among the GPUs that CUDA shows this process.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
        # From CUDA 11.4 on. The older function gives each part of a divided GPU (MIG) the UUID of the whole.
        get_uuid = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
    except (OSError, AttributeError):
        return None
    device, found = ctypes.c_int(), ctypes.create_string_buffer(16)
    error = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), ordinal) or get_uuid(found, device)
    return None if error else str(uuid.UUID(bytes=found.raw))
