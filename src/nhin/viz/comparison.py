"""The page that compares: what mechanisms declare beside what was measured, and advice put to the test."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nhin.attention.base import CacheSpec
from nhin.attention.registry import MECHANISMS, build
from nhin.viz.pages import NOTE, format_table

Measurements = Mapping[str, Any]
FORWARD_LENGTHS, DECODE_LENGTHS = ("512", "2048", "8192"), ("512", "8192", "32768")
MEMORY_LIMIT_GB = 8


def build_comparison_page(measurements: Measurements) -> str:
    """Return the page, from what ``benchmarks/attention.py`` kept."""
    parts = [
        NOTE,
        "# Comparison: declared beside measured",
        _settings_sentence(measurements),
        "## Time",
        "Milliseconds of a forward pass, and in brackets how many times PyTorch's "
        "`scaled_dot_product_attention` "
        "on the same tensors (median of the ratios of the rounds); causal where the mechanism can be. The "
        "last "
        "columns: the same ratio for forward + backward, and p of a cost that grows as length^p between "
        "the two "
        "longest.",
        format_table(
            ("mechanism", "declared", *(f"{n} places" for n in FORWARD_LENGTHS), "with backward, 8192", "p"),
            _time_rows(measurements),
        ),
        "## Memory while computing",
        "Megabytes that operations returned and still held, at the peak, beyond inputs, answers and "
        "gradients, at "
        "8192 places; p as above. The last column: the longest sequence whose training step would hold at "
        "most "
        f"{MEMORY_LIMIT_GB} GB by that growth, for one sequence of 8 heads and one layer.",
        format_table(
            ("mechanism", "declared", "forward", "p", "with backward", "longest, about"),
            _memory_rows(measurements),
        ),
        "## Memory while decoding",
        "How heads share keys and values, for a layer of 32 heads of width 128 and 4,096 places in "
        "float16: bytes "
        "as the cache itself tells them.",
        format_table(("heads", "kv_heads", "numbers kept", "bytes", "of multi-head"), _head_sharing_rows()),
        "And what each mechanism keeps for one sequence, with 8 heads of width 64 in float32.",
        format_table(
            ("mechanism", "numbers", "512 places", "8192 places", "32768 places"), _cache_size_rows()
        ),
        "## Time of one step of decoding",
        "Microseconds for one place of 8 heads after so many; `8:2` means 8 query heads on 2 key/value "
        "heads.",
        format_table(("what", *(f"{n} kept" for n in DECODE_LENGTHS)), _decode_rows(measurements)),
        "## Usual advice, put to the test",
        "What papers and guides recommend, and what this machine says of it. Ratios hang on the machine, the "
        "dtype and on training or not, so ask yours: `make bench`.",
        *_advice_paragraphs(measurements),
        "## Promises",
        "What the fast paths promise, as multiples of the peer's time.",
        format_table(("what", "at most", "measured", "spread", ""), _target_rows(measurements)),
    ]
    return "\n\n".join(parts) + "\n"


def _settings_sentence(measurements: Measurements) -> str:
    told = measurements["settings"]
    return (
        f"Made from `benchmarks/attention.json`, which `make bench` measures anew: {measurements['machine']}, "
        f"torch "
        f"{told['torch']}, {told['threads']} thread, {told['dtype']}, batch {told['batch']}, "
        f"{told['heads']} heads "
        f"of width {told['head_dim']}; each mechanism with its own defaults. A dash: the case would take "
        f"over 20 s "
        "or 6 GB, or the mechanism refuses it."
    )


def _find_cell(measurements: Measurements, part: str, name: str, length: str) -> Mapping[str, float]:
    """Return what was measured; empty when nothing was."""
    cell = measurements.get(part, {}).get(name, {}).get(length, {})
    return {} if "skipped" in cell else cell


def _time_rows(measurements: Measurements) -> Iterator[list[str]]:
    for name, made in MECHANISMS.items():
        cells = [_find_cell(measurements, "forward", name, length) for length in FORWARD_LENGTHS]
        back = _find_cell(measurements, "backward", name, "8192")
        growth = measurements.get("growth", {}).get(name, {}).get("time", {}).get("measured")
        yield [
            f"[`{name}`](mechanisms/{name}.md)",
            made.facts.time,
            *(f"{_format_short(cell['ms'])} ({_format_ratio(cell)})" if cell else "–" for cell in cells),
            _format_ratio(back),
            _format_number(growth),
        ]


def _memory_rows(measurements: Measurements) -> Iterator[list[str]]:
    for name, made in MECHANISMS.items():
        forward, back = (_find_cell(measurements, part, name, "8192") for part in ("forward", "backward"))
        growth = measurements.get("growth", {}).get(name, {}).get("memory", {}).get("measured")
        yield [
            f"`{name}`",
            made.facts.memory,
            f"{_format_short(forward['peak_mb'])} MB" if forward else "–",
            _format_number(growth),
            f"{_format_short(back['peak_mb'])} MB" if back else "–",
            _estimate_longest(measurements, name),
        ]


def _estimate_longest(measurements: Measurements, name: str) -> str:
    """Return the longest sequence that fits, from how the peak of a training step grew."""
    known = [
        (int(length), cell["peak_mb"])
        for length in FORWARD_LENGTHS
        if (cell := _find_cell(measurements, "backward", name, length)) and cell["peak_mb"] > 0
    ]
    if len(known) < 2:
        return "–"
    (short, less), (long, more) = known[-2:]
    if more <= less:
        return "–"
    # A constant part fades as lengths grow, so memory is a line or a parabola through zero at the least.
    room = MEMORY_LIMIT_GB * 1024 / more
    power = 2 if more / less > (long / short) ** 1.5 else 1
    fits = long * room ** (1 / power)
    return f"{float(f'{fits:.2g}'):,.0f}"


def _head_sharing_rows() -> Iterator[list[str]]:
    softmax, heads = build("softmax"), 32
    sizes = {
        groups: softmax.init_cache(CacheSpec(1, 4096, groups, 128, torch.float16, "meta")).size
        for groups in (heads, 8, 1)
    }
    named = {heads: ("multi-head", "2·S·H·D"), 8: ("grouped", "2·S·G·D"), 1: ("multi-query", "2·S·D")}
    for groups, size in sizes.items():
        title, numbers = named[groups]
        yield [
            title,
            str(groups),
            numbers,
            f"{size:,}",
            f"1/{sizes[heads] // size}" if groups < heads else "1",
        ]


def _cache_size_rows() -> Iterator[list[str]]:
    for name, made in MECHANISMS.items():
        if "decode" not in made.facts.abilities:
            continue
        mechanism = build(name, heads=8, head_dim=64)
        sizes = [_cache_size(mechanism.init_cache, int(length)) for length in DECODE_LENGTHS]
        yield [f"`{name}`", made.facts.state, *sizes]


def _cache_size(new_state: Any, context: int) -> str:
    size = new_state(CacheSpec(1, context, 8, 64, torch.float32, "meta")).size
    return f"{size / 2**20:,.1f} MB" if size >= 2**20 else f"{size / 2**10:,.0f} KB"


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
    trained = _rank_by_cost(measurements, "backward", "8192", "ms")
    steps = {name: cells for name, cells in measurements.get("decode", {}).items() if name in MECHANISMS}
    yield _format_advice(
        "Short text, ample hardware: multi-head softmax, or Flash.",
        f"Fastest forward at 512 places: {_format_ranking(short, 'ms')}.",
    )
    yield _format_advice(
        "Long text, little hardware: linear or sparse.",
        f"Fastest forward at 8192 places: {_format_ranking(long, 'ms')}. Least memory of a training step there: "
        f"{_format_ranking(_rank_by_cost(measurements, 'backward', '8192', 'peak_mb'), 'MB')}.",
    )
    yield _format_advice(
        "Inference at the edge: multi-query or grouped-query.",
        "The cache of 8 groups for 32 heads is a quarter of multi-head's, that of one a thirty-second "
        "(above). " + _grouped_step_sentence(measurements),
    )
    yield _format_advice(
        "Training large models: Flash with rotary positions.",
        f"Fastest forward + backward at 8192 places: {_format_ranking(trained, 'ms')}. Among the exact ones: "
        f"{_format_ranking({n: v for n, v in trained.items() if MECHANISMS[n].facts.exact}, 'ms')}; `softmax` is "
        f"PyTorch's "
        "fused Flash kernel, `flash` the readable one.",
    )
    far = _rank_by_cost({"decode": steps}, "decode", "32768", "us")
    flat = {
        name: round(cells["32768"]["us"] / cells["512"]["us"], 1)
        for name, cells in steps.items()
        if all("us" in cells.get(length, {}) for length in ("512", "32768"))
    }
    level = [name for name, rise in flat.items() if rise < 1.5]
    yield _format_advice(
        "Over 100,000 places: linear attention with rotary positions.",
        f"Fastest step of decoding after 32768 places: {_format_ranking(far, 'µs')}. A step costs as good as the "
        f"same "
        f"after 512 and 32768 places with: {', '.join(f'`{name}`' for name in level) or 'none'}. Windows and "
        "sinks stay as level as linear attention, and forget what left them; sums forget by degrees.",
    )
    yield _format_advice(
        "Texts longer than those of training: rotary positions with NTK or YaRN.",
        "Not tested here: it takes a trained model. What each does to angles is proven by tests, what it "
        "does "
        "to answers is not.",
    )


def _format_advice(advice: str, finding: str) -> str:
    return f"**{advice}** {finding}"


def _grouped_step_sentence(measurements: Measurements) -> str:
    cells = measurements.get("decode", {})
    pair = [cells.get(name, {}).get("8192", {}).get("us") for name in ("softmax 8:2", "SDPA MHA")]
    if None in pair:
        return ""
    packed, whole = pair
    return f"A step over 8192 places: {packed:.0f} µs with 8 heads on 2, {whole:.0f} µs with 8 on 8."


def _rank_by_cost(measurements: Measurements, part: str, length: str, unit: str) -> dict[str, float]:
    """Return mechanisms by what they cost, the least first."""
    costs = {
        name: _find_cell(measurements, part, name, length).get(unit) for name in measurements.get(part, {})
    }
    known = [(cost, name) for name, cost in costs.items() if cost is not None and name in MECHANISMS]
    return {name: cost for cost, name in sorted(known)}


def _format_ranking(costs: Mapping[str, float], unit: str, max_count: int = 5) -> str:
    shown = [f"`{name}` {_format_short(cost)}" for name, cost in list(costs.items())[:max_count]]
    return f"{', '.join(shown)} {unit}" if shown else "not measured"


def _format_ratio(cell: Mapping[str, float]) -> str:
    return f"{_format_number(cell['ratio'])}x" if cell else "–"


def _format_number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _format_short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
