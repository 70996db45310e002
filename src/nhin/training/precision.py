"""The dtype to compute in, and settings of the CPU."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from nhin.errors import UsageError
from nhin.training.malloc import keep_freed_memory

Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]


def has_fast_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 in hardware (AMX or AVX-512 BF16)."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def resolve_device(device: Device) -> torch.device:
    """Return the device of a setting; auto is the GPU where there is one.

    Raises:
        UsageError: It is cuda, and there is no such GPU here.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise UsageError("training.device is cuda, but PyTorch finds no such GPU here; use auto or cpu")
    return torch.device("cuda" if has_gpu and device != "cpu" else "cpu")


def configure_gpu() -> None:
    """Leave out cuDNN's attention, which takes a third of a second to prepare for every new shape."""
    torch.backends.cuda.enable_cudnn_sdp(False)


def resolve_dtype(precision: Precision, device: str = "cpu") -> torch.dtype:
    """Return the dtype of a setting; auto is bfloat16 where the device has it in hardware."""
    if precision == "auto":
        has_it = torch.cuda.is_bf16_supported() if device == "cuda" else has_fast_bfloat16()
        return torch.bfloat16 if has_it else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(dtype: torch.dtype, device: str = "cpu") -> AbstractContextManager[object]:
    """Return torch's autocast to ``dtype``; float32 changes nothing."""
    return torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32)


@contextmanager
def configure_cpu(threads: int) -> Iterator[None]:
    """Use so many threads, keep freed memory, and flush denormal numbers, which are slow, to zero."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
