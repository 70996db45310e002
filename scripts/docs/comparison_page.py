"""The page that compares mechanisms: declared cost beside measured cost, and common advice tested."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from doc_markdown import NOTE, format_table

from nhin.attention.base import CacheSpec
from nhin.attention.registry import MECHANISMS, build
from nhin.format import format_bytes

Measurements = Mapping[str, Any]
Cell = Mapping[str, float]
FORWARD_LENGTHS, DECODE_LENGTHS = ("512", "2048", "8192"), ("512", "8192", "32768")
MEMORY_LIMIT_GB = 8


def build_comparison_page(measurements: Measurements) -> str:
    """Return the page, from what ``benchmarks/attention.py`` measured."""
    parts = [
        NOTE,
        "# Comparison: declared beside measured",
        _settings_sentence(measurements),
        "## Time",
        "Milliseconds of a forward pass, and in brackets the ratio to PyTorch's "
        "`scaled_dot_product_attention` on the same tensors (median over rounds); causal where the "
        "mechanism can be. Last columns: the same ratio for forward + backward, and the exponent p of a "
        "cost that grows as length^p between the two longest sequences.",
        format_table(
            ("mechanism", "declared", *(f"length {n}" for n in FORWARD_LENGTHS), "with backward, 8192", "p"),
            _time_rows(measurements),
        ),
        "## Memory while computing",
        "Peak megabytes beyond inputs, outputs and gradients at length 8192; p as above. "
        f"Last column: the longest sequence whose training step would need at most {MEMORY_LIMIT_GB} GB by "
        "that growth, for one sequence of 8 heads and one layer.",
        format_table(
            ("mechanism", "declared", "forward", "p", "with backward", "longest, about"),
            _memory_rows(measurements),
        ),
        "## Cache memory",
        "How heads share keys and values, for a layer of 32 heads of width 128 and 4,096 positions in "
        "float16: bytes as the cache itself reports them.",
        format_table(("heads", "kv_heads", "values stored", "bytes", "of multi-head"), _head_sharing_rows()),
        "And the cache of each mechanism for one sequence, with 8 heads of width 64 in float32.",
        format_table(
            ("mechanism", "values stored", *(f"{n} positions" for n in DECODE_LENGTHS)), _cache_size_rows()
        ),
        "## Time of one decoding step",
        "Microseconds for one position of 8 heads after that many cached ones; `8:2` means 8 query heads on "
        "2 key/value heads.",
        format_table(("what", *(f"{n} cached" for n in DECODE_LENGTHS)), _decode_rows(measurements)),
        "## Common advice, tested",
        "What papers and guides recommend, and what this machine measured. Ratios depend on the machine, the "
        "dtype and on training or inference, so measure yours: `make bench`.",
        *_advice_paragraphs(measurements),
        "## Performance targets",
        "Limits for the fast paths, as multiples of the reference's time.",
        format_table(("what", "at most", "measured", "spread", ""), _target_rows(measurements)),
    ]
    return "\n\n".join(parts) + "\n"


def _settings_sentence(measurements: Measurements) -> str:
    settings = measurements["settings"]
    return (
        "Made from `benchmarks/attention.json`, which `make bench` measures anew: "
        f"{measurements['machine']}, torch {settings['torch']}, {settings['threads']} thread, "
        f"{settings['dtype']}, batch {settings['batch']}, {settings['heads']} heads of width "
        f"{settings['head_dim']}; each mechanism with its own defaults. A dash: the case would take over 20 "
        "s or 6 GB, or the mechanism refuses it."
    )


def _find_cell(measurements: Measurements, part: str, name: str, length: str) -> Cell:
    """Return what was measured; empty when nothing was."""
    cell = measurements.get(part, {}).get(name, {}).get(length, {})
    return {} if "skipped" in cell else cell


def _find_growth(measurements: Measurements, name: str, what: str) -> float | None:
    return measurements.get("growth", {}).get(name, {}).get(what, {}).get("measured")


def _time_rows(measurements: Measurements) -> Iterator[list[str]]:
    for name, mechanism in MECHANISMS.items():
        cells = [_find_cell(measurements, "forward", name, length) for length in FORWARD_LENGTHS]
        yield [
            f"[`{name}`](mechanisms/{name}.md)",
            mechanism.facts.time,
            *(f"{_format_short(cell['ms'])} ({_format_ratio(cell)})" if cell else "–" for cell in cells),
            _format_ratio(_find_cell(measurements, "backward", name, "8192")),
            _format_number(_find_growth(measurements, name, "time")),
        ]


def _memory_rows(measurements: Measurements) -> Iterator[list[str]]:
    for name, mechanism in MECHANISMS.items():
        forward, backward = (
            f"{_format_short(cell['peak_mb'])} MB" if cell else "–"
            for cell in (_find_cell(measurements, part, name, "8192") for part in ("forward", "backward"))
        )
        growth = _format_number(_find_growth(measurements, name, "memory"))
        longest = _estimate_longest(measurements, name)
        yield [f"`{name}`", mechanism.facts.memory, forward, growth, backward, longest]


def _estimate_longest(measurements: Measurements, name: str) -> str:
    """Return the longest sequence that fits, from how the peak of a training step grew."""
    peaks = [
        (int(length), cell["peak_mb"])
        for length in FORWARD_LENGTHS
        if (cell := _find_cell(measurements, "backward", name, length)) and cell["peak_mb"] > 0
    ]
    if len(peaks) < 2:
        return "–"
    (short, less), (long, more) = peaks[-2:]
    if more <= less:
        return "–"
    # A constant part fades as lengths grow, so memory is at least a line or a parabola through zero.
    power = 2 if more / less > (long / short) ** 1.5 else 1
    longest = long * (MEMORY_LIMIT_GB * 1024 / more) ** (1 / power)
    return f"{float(f'{longest:.2g}'):,.0f}"


def _head_sharing_rows() -> Iterator[list[str]]:
    softmax, heads = build("softmax"), 32
    titles = {heads: ("multi-head", "2·S·H·D"), 8: ("grouped", "2·S·G·D"), 1: ("multi-query", "2·S·D")}
    sizes = {
        kv_heads: softmax.init_cache(CacheSpec(1, 4096, kv_heads, 128, torch.float16, "meta")).size
        for kv_heads in titles
    }
    for kv_heads, size in sizes.items():
        share = f"1/{sizes[heads] // size}" if kv_heads < heads else "1"
        yield [titles[kv_heads][0], str(kv_heads), titles[kv_heads][1], f"{size:,}", share]


def _cache_size_rows() -> Iterator[list[str]]:
    for name, mechanism in MECHANISMS.items():
        if "decode" in mechanism.facts.abilities:
            init_cache = build(name, heads=8, head_dim=64).init_cache
            specs = (CacheSpec(1, int(n), 8, 64, torch.float32, "meta") for n in DECODE_LENGTHS)
            yield [
                f"`{name}`",
                mechanism.facts.state,
                *(format_bytes(init_cache(spec).size) for spec in specs),
            ]


def _decode_rows(measurements: Measurements) -> Iterator[list[str]]:
    for name, cells in measurements.get("decode", {}).items():
        known = [cells.get(length, {}) for length in DECODE_LENGTHS]
        yield [f"`{name}`", *(_format_short(cell["us"]) if "us" in cell else "–" for cell in known)]


def _target_rows(measurements: Measurements) -> Iterator[list[str]]:
    words = {True: "met", False: "**missed**", None: "not measured"}
    for row in measurements.get("targets", ()):
        spread = "" if row["min"] is None else f"{row['min']} to {row['max']}"
        yield [row["what"], f"{row['limit']}", _format_number(row["ratio"], 3), spread, words[row["met"]]]


def _advice_paragraphs(measurements: Measurements) -> Iterator[str]:
    short, long = (_rank_by_cost(measurements, "forward", n, "ms") for n in ("512", "8192"))
    memory = _rank_by_cost(measurements, "backward", "8192", "peak_mb")
    training = _rank_by_cost(measurements, "backward", "8192", "ms")
    exact = {name: cost for name, cost in training.items() if MECHANISMS[name].facts.exact}
    steps = {name: cells for name, cells in measurements.get("decode", {}).items() if name in MECHANISMS}
    far = _rank_by_cost({"decode": steps}, "decode", "32768", "us")
    flat = [
        name
        for name, cells in steps.items()
        if all("us" in cells.get(length, {}) for length in ("512", "32768"))
        and round(cells["32768"]["us"] / cells["512"]["us"], 1) < 1.5
    ]
    level = ", ".join(f"`{name}`" for name in flat) or "none"
    findings = {
        "Short text, ample hardware: multi-head softmax, or Flash.": (
            f"Fastest forward at length 512: {_format_ranking(short, 'ms')}."
        ),
        "Long text, little hardware: linear or sparse.": (
            f"Fastest forward at length 8192: {_format_ranking(long, 'ms')}. Least memory of a training step "
            f"there: {_format_ranking(memory, 'MB')}."
        ),
        "Inference at the edge: multi-query or grouped-query.": (
            "The cache of 8 groups for 32 heads is a quarter of multi-head's, that of one a thirty-second "
            "(above). " + _grouped_step_sentence(measurements)
        ),
        "Training large models: Flash with rotary positions.": (
            f"Fastest forward + backward at length 8192: {_format_ranking(training, 'ms')}. Among the exact "
            f"ones: {_format_ranking(exact, 'ms')}; `softmax` is PyTorch's fused Flash kernel, `flash` the "
            "readable one."
        ),
        "Over 100,000 positions: linear attention with rotary positions.": (
            f"Fastest decoding step after 32768 positions: {_format_ranking(far, 'µs')}. A step costs nearly "
            f"the same after 512 and 32768 positions with: {level}. "
            "Windows and sinks cost as little at any length as linear attention, and forget what left the "
            "window; sums forget gradually."
        ),
        "Texts longer than those of training: rotary positions with NTK or YaRN.": (
            "Not tested here: it takes a trained model. Tests prove what each does to angles, not what it "
            "does to a model's output."
        ),
    }
    for advice, finding in findings.items():
        yield f"**{advice}** {finding}"


def _grouped_step_sentence(measurements: Measurements) -> str:
    cells = measurements.get("decode", {})
    grouped, full = (cells.get(name, {}).get("8192", {}).get("us") for name in ("softmax 8:2", "SDPA MHA"))
    if grouped is None or full is None:
        return ""
    return f"A step over 8192 positions: {grouped:.0f} µs with 8 heads on 2, {full:.0f} µs with 8 on 8."


def _rank_by_cost(measurements: Measurements, part: str, length: str, unit: str) -> dict[str, float]:
    """Return mechanisms by cost, the least first."""
    costs = {
        name: _find_cell(measurements, part, name, length).get(unit) for name in measurements.get(part, {})
    }
    known = [(cost, name) for name, cost in costs.items() if cost is not None and name in MECHANISMS]
    return {name: cost for cost, name in sorted(known)}


def _format_ranking(costs: Mapping[str, float], unit: str) -> str:
    shown = [f"`{name}` {_format_short(cost)}" for name, cost in list(costs.items())[:5]]
    return f"{', '.join(shown)} {unit}" if shown else "not measured"


def _format_ratio(cell: Cell) -> str:
    return f"{_format_number(cell['ratio'])}x" if cell else "–"


def _format_number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _format_short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
