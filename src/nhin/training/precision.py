"""In which numbers to compute: bfloat16 where the processor gains from it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from nhin.training.memory import keep_freed

Precision = Literal["auto", "float32", "bfloat16"]


def gains_from_bfloat16() -> bool:
    """Say whether this processor multiplies bfloat16 in hardware (AMX or AVX-512 BF16)."""
    able = (
        getattr(torch.cpu, "_is_amx_tile_supported", bool),
        getattr(torch.cpu, "_is_avx512_bf16_supported", bool),
    )
    return any(bool(check()) for check in able)


def chosen(precision: Precision) -> torch.dtype:
    """Return the number format a setting means on this machine."""
    if precision == "auto":
        return torch.bfloat16 if gains_from_bfloat16() else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(dtype: torch.dtype, device: str = "cpu") -> AbstractContextManager[object]:
    """Compute in ``dtype`` inside; float32 is no change."""
    return torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32)


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute with so many threads, keep freed memory, and take denormal numbers (slow) for zero."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    keep_freed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
