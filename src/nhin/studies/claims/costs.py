"""Claims on time: measured in turn on this processor with one thread, as ``nhin bench attention`` does."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from nhin.attention.registry import build
from nhin.bench.cells import RECOMPUTE, BenchCell
from nhin.bench.timing import Median, Rounds, TimedCalls, bootstrap_median, make_clock, time_in_turn
from nhin.bench.work import Work, build_work, make_inputs
from nhin.metrics.statistics import fit_line
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT
from nhin.studies.claims.claim import Bound, Measured, SourceClaim

ROUNDS = 5
_GENERATED, _CHECKED = 16_384, 2_048


def time_works(works: Mapping[str, Work], rounds: int = ROUNDS) -> dict[str, TimedCalls]:
    """Time calls in turn, each equally often."""
    return time_in_turn(works, None, make_clock("cpu", 1), Rounds(rounds, seconds=1e6), lambda: False)


def time_cells(cells: Mapping[str, BenchCell], rounds: int = ROUNDS) -> dict[str, TimedCalls]:
    """Time cells in turn."""
    return time_works({name: build_work(cell, make_inputs(cell)) for name, cell in cells.items()}, rounds)


def compare(times: Mapping[str, TimedCalls], slow: str, fast: str) -> Median:
    """Return how many times the seconds of one call are those of another, round by round."""
    pairs = zip(times[slow].seconds, times[fast].seconds, strict=True)
    return bootstrap_median([a / b for a, b in pairs])


def fit_exponent(sizes: Sequence[int], times: Mapping[str, TimedCalls], names: Sequence[str]) -> Median:
    """Return p of time ~ size^p, fitted in every round."""
    rounds = zip(*(times[name].seconds for name in names), strict=True)
    xs = [math.log2(size) for size in sizes]
    return bootstrap_median([fit_line(xs, [math.log2(t) for t in row]).slope for row in rounds])


def measure_growth(mechanism: str, *lengths: int, heads: int = 2) -> Median:
    """Measure the exponent of a causal forward pass over lengths."""
    cells = {str(n): BenchCell(mechanism, "forward", n, heads=heads, kv_heads=heads) for n in lengths}
    return fit_exponent(lengths, time_cells(cells), list(cells))


def measure_exact_growth() -> Measured:
    """Measure how the time of exact attention grows."""
    return measure_growth("naive", 2048, 4096, 8192, heads=1), measure_growth(
        "sdpa", 4096, 8192, 16384, heads=1
    )


def measure_linear_growth() -> Measured:
    """Measure how the time of linear attention grows."""
    return measure_growth("linear", 4096, 8192, 16384), measure_growth("performer", 2048, 4096, 8192)


def measure_window_growth() -> Measured:
    """Measure how the time of windows grows."""
    return [measure_growth(name, 8192, 16384, 32768) for name in ("window", "longformer", "bigbird")]


def measure_sparse_growth() -> Measured:
    """Measure pairs and time of the Sparse Transformer's patterns with a stride of sqrt(n)."""
    figures: list[float | Median] = []
    lengths = (4096, 16384, 65536)
    for name in ("strided", "fixed"):
        pairs, works = [], {}
        for n in lengths:
            mechanism = build(name, stride=math.isqrt(n))
            inputs = make_inputs(BenchCell(name, "forward", n, heads=1, kv_heads=1))
            works[str(n)] = Work(_bind_forward(mechanism, inputs.q, inputs.k, inputs.v))
            pairs.append(_count_pairs(mechanism, n))
        figures.append(math.log(pairs[-1] / pairs[0]) / math.log(lengths[-1] / lengths[0]))
        figures.append(fit_exponent(lengths, time_works(works), list(works)))
    return figures


def _bind_forward(mechanism: torch.nn.Module, *qkv: torch.Tensor) -> Callable[[], object]:
    return torch.no_grad()(lambda: mechanism(*qkv, causal=True))


def _count_pairs(mechanism: Any, n: int) -> float:
    """Estimate the visible pairs from 64 rows at equal distances."""
    rows = torch.linspace(0, n - 1, 64).long()[:, None]
    keys = torch.arange(n)
    q = torch.zeros(1, n, 1, 4)
    visible = mechanism.mask(q, q, rows, keys, rows) & (keys <= rows)
    return float(visible.sum()) * n / 64


def measure_fused_speed() -> Measured:
    """Measure PyTorch's fused kernel against the table of scores."""
    figures = []
    for n in (1024, 4096):
        cells = {name: BenchCell(name, "train", n, heads=2, kv_heads=2) for name in ("sdpa", "naive")}
        figures.append(compare(time_cells(cells), "naive", "sdpa"))
    return figures


def measure_bias_cost() -> Measured:
    """Measure ALiBi against the same softmax without a bias: tiled as ours is, and fused."""
    names = ("alibi", "flash", "sdpa")
    times = time_cells({name: BenchCell(name, "forward", 4096, heads=2, kv_heads=2) for name in names})
    return compare(times, "alibi", "flash"), compare(times, "alibi", "sdpa")


def measure_generation() -> Measured:
    """Measure a whole generation from a state against recomputing everything at every step."""
    figures = []
    for heads in (8, 1):
        cells = {
            "linear": BenchCell("linear", "generate", _GENERATED, heads=heads, kv_heads=heads),
            "naive": BenchCell(RECOMPUTE, "generate", _GENERATED, heads=heads, kv_heads=heads),
        }
        works = {name: build_work(cell, make_inputs(cell), whole=_GENERATED) for name, cell in cells.items()}
        clock = make_clock("cpu", 1)
        rounds = [{name: clock(work.run, 1) * work.scale for name, work in works.items()} for _ in range(3)]
        figures.append(bootstrap_median([row["naive"] / row["linear"] for row in rounds]))
    return *figures, _check_sampling()


def _check_sampling() -> float:
    """Return the time of all steps over the estimate from eight of them, at a short length."""
    cell = BenchCell(RECOMPUTE, "generate", _CHECKED, heads=1, kv_heads=1)
    x = make_inputs(cell)
    sampled = build_work(cell, x)
    mechanism = build("softmax")

    @torch.inference_mode()
    def run_all() -> None:
        for t in range(1, _CHECKED + 1):
            mechanism(x.q[:, :t], x.k[:, :t], x.v[:, :t], causal=True)

    clock = make_clock("cpu", 1)
    sampled.run()
    return clock(run_all, 1) / (
        bootstrap_median([clock(sampled.run, 3) for _ in range(3)]).value * sampled.scale
    )


def measure_step_time() -> Measured:
    """Measure a decoding step after few and after many positions."""
    figures = []
    for name in ("linear", "window", "softmax"):
        cells = {str(n): BenchCell(name, "decode", n) for n in (512, 16384)}
        figures.append(compare(time_cells(cells, 31), "16384", "512"))
    return figures


def measure_shared_heads() -> Measured:
    """Measure a decoding step with 8 key/value heads against those with 2 and with 1."""
    many = BenchCell("softmax", "decode", 8192)
    cells = {str(kv_heads): replace(many, kv_heads=kv_heads) for kv_heads in (8, 2, 1)}
    times = time_cells(cells)
    return compare(times, "8", "1"), compare(times, "8", "2")


def measure_depth_time() -> Measured:
    """Measure whether the time of a training step is linear in the depth."""
    depths, works = (1, 2, 4, 8), {}
    tokens = torch.randint(256, (4, 64), generator=torch.Generator().manual_seed(0))
    for depth in depths:
        model = build_lm(256, ModelConfig(depth=depth, dim=96, heads=2, context=64))
        works[str(depth)] = Work(_bind_step(model, tokens))
    times = time_works(works, 21)
    rows = zip(*(times[str(depth)].seconds for depth in depths), strict=True)
    fits = [fit_line(depths, row) for row in rows]
    return bootstrap_median([fit.fit for fit in fits]), bootstrap_median([1e3 * fit.slope for fit in fits])


def _bind_step(model: GPT, tokens: torch.Tensor) -> Callable[[], object]:
    weights = list(model.parameters())
    return lambda: torch.autograd.grad(model.loss(tokens, tokens)["loss"], weights)


def explain_gpu() -> Measured:
    """Return why the speed of GPU kernels is not measured."""
    if torch.cuda.is_available():
        return "a GPU is here: make bench-gpu times the kernels beside PyTorch's"
    return "needs a GPU of the H100 class, and PyTorch finds none: make bench-gpu measures it on one"


_TIME = "Time"
_EXACT, _LINEAR = (1.85, 2.15), (0.85, 1.15)
CLAIMS = (
    SourceClaim(
        "quadratic-time",
        _TIME,
        "The time of exact attention grows as the square of the length.",
        "Vaswani et al. 2017, arXiv:1706.03762, table 1",
        (Bound("exponent, table of scores", *_EXACT), Bound("exponent, fused kernel", *_EXACT)),
        measure_exact_growth,
        "causal forward pass; 2,048 to 8,192, fused 4,096 to 16,384",
    ),
    SourceClaim(
        "flash-speed",
        _TIME,
        "FlashAttention is 2 to 4 times faster than attention through a table.",
        "Dao 2023, arXiv:2307.08691, abstract, of Dao et al. 2022, arXiv:2205.14135",
        (Bound("times faster at 1,024", low=2.0), Bound("at 4,096", low=2.0)),
        measure_fused_speed,
        "PyTorch's fused CPU kernel, forward and backward; the paper's figures are of GPUs",
    ),
    SourceClaim(
        "flash-2-gpu",
        _TIME,
        "FlashAttention-2 is twice as fast as the first and reaches 50 to 73% of a GPU's peak.",
        "Dao 2023, arXiv:2307.08691, abstract",
        (Bound("TFLOP/s", low=0.0),),
        explain_gpu,
        "",
    ),
    SourceClaim(
        "linear-time",
        _TIME,
        "The time of linear attention grows as the length.",
        "arXiv:2006.16236, sec. 3.2; arXiv:2009.14794, sec. 2",
        (Bound("exponent, linear (elu + 1)", *_LINEAR), Bound("exponent, Performer", *_LINEAR)),
        measure_linear_growth,
        "causal forward pass; 4,096 to 16,384, Performer 2,048 to 8,192",
    ),
    SourceClaim(
        "window-time",
        _TIME,
        "With a window, also with global and random blocks, time grows as the length.",
        "Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1; Zaheer et al. 2020, arXiv:2007.14062, sec. 2",
        tuple(Bound(f"exponent, {name}", *_LINEAR) for name in ("window", "Longformer", "BigBird")),
        measure_window_growth,
        "causal forward pass, 8,192 to 32,768",
    ),
    SourceClaim(
        "sparse-exponent",
        _TIME,
        "Strided and fixed patterns with a stride of sqrt(n) cost n^1.5.",
        "Child et al. 2019, arXiv:1904.10509, sec. 4",
        (
            Bound("exponent of pairs, strided", 1.45, 1.55),
            Bound("of time, strided", high=1.6),
            Bound("of pairs, fixed", 1.45, 1.55),
            Bound("of time, fixed", high=1.6),
        ),
        measure_sparse_growth,
        "4,096, 16,384 and 65,536 positions, strides 64, 128, 256",
    ),
    SourceClaim(
        "linear-generation",
        _TIME,
        "Linear attention generates up to 4000 times faster.",
        "Katharopoulos et al. 2020, arXiv:2006.16236, abstract",
        (
            Bound("times faster, 8 heads of 64", low=4000.0),
            Bound("times faster, 1 head of 64"),
            Bound("time of all steps over the sampled estimate, at 2,048", 0.7, 1.4),
        ),
        measure_generation,
        (
            "16,384 tokens through one layer: every step with the state; naive recomputation (the "
            "whole prefix again at every step, by PyTorch's fused kernel) timed at 8 lengths and "
            "summed, which the last figure checks"
        ),
    ),
    SourceClaim(
        "step-time",
        _TIME,
        "A step of linear attention or of a window costs the same however long the text is.",
        "arXiv:2006.16236, sec. 3.4; arXiv:2310.06825, sec. 2",
        (Bound("after 16,384 over 512, linear", high=1.25), Bound("window", high=1.25), Bound("softmax")),
        measure_step_time,
        "one position, 8 heads of width 64",
    ),
    SourceClaim(
        "mqa-decoding",
        _TIME,
        "Sharing keys and values makes decoding faster.",
        "Shazeer 2019, arXiv:1911.02150, sec. 3 and 4; arXiv:2305.13245, fig. 3",
        (Bound("8 key/value heads over 1", low=1.5), Bound("8 over 2", low=1.5)),
        measure_shared_heads,
        "one step after 8,192 positions, 8 query heads of width 64",
    ),
    SourceClaim(
        "alibi-time",
        _TIME,
        "ALiBi is as fast as attention without positions.",
        "Press et al. 2021, arXiv:2108.12409, sec. 3",
        (
            Bound("time over our tiles without a bias", high=1.25),
            Bound("over PyTorch's fused kernel", high=1.25),
        ),
        measure_bias_cost,
        "causal forward pass at 4,096",
    ),
    SourceClaim(
        "depth-time",
        _TIME,
        "The time of a step is linear in the depth.",
        "the source report's ladder of language models",
        (Bound("R² of a line over depths 1, 2, 4, 8", low=0.99), Bound("ms for each block")),
        measure_depth_time,
        "training step, width 96, 4 texts of 64 tokens",
    ),
)
