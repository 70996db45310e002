"""Claims on memory: bytes that caches report, and peaks measured in a process of their own."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from nhin.attention.base import CacheSpec
from nhin.attention.registry import build
from nhin.bench.cells import BenchCell
from nhin.bench.probe import ProbeLimits, open_probe
from nhin.lm.activation_memory import count_activation_bytes
from nhin.metrics.statistics import fit_line
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.studies.claims.claim import Bound, Measured, SourceClaim

_SECONDS, _MAX_BYTES = 60.0, 2 * 2**30


def count_cache_bytes(name: str, context: int, kv_heads: int = 8, head_dim: int = 64, **settings: Any) -> int:
    """Return the bytes that the cache of a mechanism allocates for one sequence, in float16."""
    mechanism = build(name, heads=32, head_dim=head_dim, **settings)
    return mechanism.init_cache(CacheSpec(1, context, kv_heads, head_dim, torch.float16, "meta")).size


def measure_mqa_cache() -> Measured:
    """Count the bytes of a multi-head and of a multi-query cache."""
    many, one = (count_cache_bytes("softmax", 4096, kv_heads, 128) for kv_heads in (32, 1))
    return many / (2 * 2 * 32 * 4096 * 128), one / (2 * 2 * 4096 * 128), many / one


def measure_gqa_cache() -> Measured:
    """Count the bytes of 32 heads in 8 groups."""
    many, grouped, one = (count_cache_bytes("softmax", 4096, kv_heads, 128) for kv_heads in (32, 8, 1))
    return many / grouped, grouped / one


def measure_ring_cache() -> Measured:
    """Count the bytes of a window's cache of rolling positions."""
    long, short = (count_cache_bytes("window", context, window=4096) for context in (32768, 8192))
    return count_cache_bytes("softmax", 32768) / long, long / short


def measure_state_size() -> Measured:
    """Count the bytes of the state of linear attention."""
    long, short = (count_cache_bytes("linear", context) for context in (32768, 512))
    return long / short, count_cache_bytes("softmax", 32768) / long


@contextmanager
def open_peaks() -> Iterator[Any]:
    """Yield a function that measures the peak bytes of a causal training pass; None where it cannot."""
    with open_probe("cpu", 1, ProbeLimits(_SECONDS, _MAX_BYTES)) as probe:
        yield lambda name, n: probe(BenchCell(name, "train", n, heads=4, kv_heads=4)).peak_bytes


def measure_flash_memory() -> Measured:
    """Measure peaks of exact attention with and without a table of scores."""
    lengths = (1024, 2048, 4096)
    with open_peaks() as peak:
        peaks = {name: [peak(name, n) for n in lengths] for name in ("naive", "flash", "sdpa")}
    if not all(all(sizes) for sizes in peaks.values()):
        return "needs Linux, whose processes tell their peak memory"
    xs = [math.log2(n) for n in lengths]
    slopes = {name: fit_line(xs, [math.log2(size) for size in sizes]).slope for name, sizes in peaks.items()}
    ratios = [peaks["naive"][-1] / peaks[name][-1] for name in ("sdpa", "flash")]
    return slopes["naive"], slopes["sdpa"], slopes["flash"], *ratios


def measure_bigbird_length() -> Measured:
    """Measure the peak of BigBird at eight times the length of exact attention."""
    with open_peaks() as peak:
        table, sparse, fused = peak("naive", 1024), peak("bigbird", 8192), peak("sdpa", 8192)
    if not (table and sparse and fused):
        return "needs Linux, whose processes tell their peak memory"
    return sparse / table, sparse / fused


def measure_depth_memory() -> Measured:
    """Count the activations that a training step keeps, by depth and by length."""
    depths, lengths = (1, 2, 4, 8), (32, 64, 128, 256)
    by_depth = [_count_activations(depth, 64) for depth in depths]
    by_length = [_count_activations(2, length) for length in lengths]
    return fit_line(depths, by_depth).fit, fit_line(lengths, by_length).fit


def _count_activations(depth: int, length: int) -> int:
    torch.manual_seed(0)
    model = build_lm(64, ModelConfig(depth=depth, dim=64, heads=2, context=length)).train()
    return count_activation_bytes(model, torch.zeros(1, length, dtype=torch.long))


_MEMORY = "Memory"
_MHA = "Shazeer 2019, arXiv:1911.02150, sec. 3"
CLAIMS = (
    SourceClaim(
        "mqa-cache",
        _MEMORY,
        (
            "A cache stores 2Hnd numbers with one key/value head for each of H heads, and 2nd with a "
            "shared one."
        ),
        _MHA,
        (
            Bound("multi-head, bytes over 2Hnd", 1.0, 1.0),
            Bound("multi-query, bytes over 2nd", 1.0, 1.0),
            Bound("multi-head over multi-query", 32.0, 32.0),
        ),
        measure_mqa_cache,
        "32 heads of width 128, 4,096 positions, float16",
    ),
    SourceClaim(
        "gqa-cache",
        _MEMORY,
        "32 heads in 8 groups store 4 times less than multi-head and 8 times more than multi-query.",
        "Ainslie et al. 2023, arXiv:2305.13245, sec. 2.2",
        (Bound("multi-head over grouped", 4.0, 4.0), Bound("grouped over multi-query", 8.0, 8.0)),
        measure_gqa_cache,
        "as above",
    ),
    SourceClaim(
        "ring-cache",
        _MEMORY,
        "A window of 4,096 needs 8 times less cache at 32,768 positions.",
        "Jiang et al. 2023, arXiv:2310.06825, sec. 2",
        (
            Bound("all keys over the window's", 8.0, 8.0),
            Bound("window, 32,768 over 8,192 positions", 1.0, 1.0),
        ),
        measure_ring_cache,
        "bytes that the caches allocate",
    ),
    SourceClaim(
        "state-size",
        _MEMORY,
        "The state of linear attention does not grow with the text.",
        "Katharopoulos et al. 2020, arXiv:2006.16236, sec. 3.4",
        (Bound("32,768 over 512 positions", 1.0, 1.0), Bound("cache of softmax over it, at 32,768", low=1.0)),
        measure_state_size,
        "8 key/value heads of width 64",
    ),
    SourceClaim(
        "flash-memory",
        _MEMORY,
        "FlashAttention's memory grows as the length and is 10 times less.",
        "Dao et al. 2022, arXiv:2205.14135, theorem 1; 10 times by the source report",
        (
            Bound("exponent, table of scores", 1.85, 2.15),
            Bound("exponent, fused kernel", 0.7, 1.15),
            Bound("exponent, our tiles", 0.7, 1.15),
            Bound("table over fused, at 4,096", low=10.0),
            Bound("table over our tiles, at 4,096", low=10.0),
        ),
        measure_flash_memory,
        "peak of a causal training pass besides its inputs, 4 heads of 64; 1,024 to 4,096",
    ),
    SourceClaim(
        "bigbird-length",
        _MEMORY,
        "BigBird handles sequences 8 times longer on the same hardware.",
        "Zaheer et al. 2020, arXiv:2007.14062, abstract",
        (
            Bound("BigBird at 8,192 over a table at 1,024", high=1.0),
            Bound("BigBird at 8,192 over a fused kernel there"),
        ),
        measure_bigbird_length,
        "peak of a causal training pass, 4 heads of 64",
    ),
    SourceClaim(
        "depth-memory",
        _MEMORY,
        "Activations grow as depth times length: O(L T D).",
        "the source report's ladder of language models",
        (Bound("R² over depths 1, 2, 4, 8", low=0.99), Bound("R² over lengths 32, 64, 128, 256", low=0.99)),
        measure_depth_memory,
        "bytes that a training step keeps, counted, with the fused kernel",
    ),
)
