"""Keep the memory that a step frees in the process: the next step allocates the same sizes again.

The C library returns large blocks to the system, which zeroes their pages at the next allocation: half the
time of a step of a bigram over 2048 tokens.
"""

import ctypes
import sys

_TRIM, _MAP = -1, -3  # of glibc's malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
_KEPT, _LARGEST = 2**30, 2**25  # glibc takes no more than 32 MiB for the second


def keep_freed_memory() -> bool:
    """Keep up to 1 GiB of freed memory, in blocks below 32 MiB; return whether that works here."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_TRIM, _KEPT) and mallopt(_MAP, _LARGEST))
