"""Give memory back that was freed."""

import ctypes
from contextlib import suppress


def return_freed_memory() -> None:
    """Give freed memory back to the system. glibc keeps blocks below 32 MB: of the lists of many ranks, a gigabyte.

    Elsewhere than with glibc it does nothing.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
