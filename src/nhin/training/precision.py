"""The dtype to compute in: bfloat16 where the processor gains from it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from nhin.training.malloc import keep_freed_memory

Precision = Literal["auto", "float32", "bfloat16"]


def has_fast_bfloat16() -> bool:
    """Say whether this processor multiplies bfloat16 in hardware (AMX or AVX-512 BF16)."""
    able = (
        getattr(torch.cpu, "_is_amx_tile_supported", bool),
        getattr(torch.cpu, "_is_avx512_bf16_supported", bool),
    )
    return any(bool(check()) for check in able)


def resolve_dtype(precision: Precision) -> torch.dtype:
    """Return the dtype a setting means on this machine."""
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(dtype: torch.dtype, device: str = "cpu") -> AbstractContextManager[object]:
    """Compute in ``dtype`` inside; float32 is no change."""
    return torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32)


@contextmanager
def configure_cpu(threads: int) -> Iterator[None]:
    """Compute with so many threads, keep freed memory, and flush denormal numbers (slow) to zero."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
