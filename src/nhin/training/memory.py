"""Memory that a step frees stays with the process, for the next step asks for the same pieces again.

The C library gives large pieces back to the system as they are freed, and the system hands out zeroed pages,
one by one, when they are asked for again. Of a bigram over 2048 tokens that was half the time of a step.
"""

import ctypes
import sys

_TRIM, _MAP = -1, -3  # of glibc's malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
_KEPT, _LARGEST = 2**30, 2**25  # glibc takes no more than 32 MiB for the second


def keep_freed() -> bool:
    """Keep up to 1 GiB of freed memory from now on, in pieces below 32 MiB; say whether that is done here."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_TRIM, _KEPT) and mallopt(_MAP, _LARGEST))
