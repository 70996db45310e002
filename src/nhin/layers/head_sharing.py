"""How heads share keys and values: one layer, ``MultiHead``, and what it is given."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeadSharing:
    """A way of sharing keys and values among heads, as data.

    Args:
        name: Its key in the table.
        title: Its name in plain words.
        settings: What ``MultiHead`` is given.
        state: Numbers kept for one sequence of S places while decoding, in one layer.
        source: Where it comes from.
        use: When to choose it, in one sentence.
    """

    name: str
    title: str
    settings: str
    state: str
    source: str
    use: str


_ALL = (
    HeadSharing(
        "single-head",
        "One head",
        "heads=1",
        "2·S·D",
        "arXiv:1409.0473",
        "To study, and where there is one thing to look for.",
    ),
    HeadSharing(
        "multi-head",
        "Multi-head (MHA)",
        "heads=H",
        "2·S·H·D",
        "arXiv:1706.03762",
        "By default, and where memory in decoding does not matter.",
    ),
    HeadSharing(
        "multi-query",
        "Multi-query (MQA)",
        "heads=H, kv_heads=1",
        "2·S·D",
        "arXiv:1911.02150",
        "For the smallest cache: decoding on small devices and in large batches.",
    ),
    HeadSharing(
        "grouped-query",
        "Grouped-query (GQA)",
        "heads=H, kv_heads=G",
        "2·S·G·D",
        "arXiv:2305.13245",
        "Between the two: nearly the quality of multi-head with H/G times less to keep.",
    ),
    HeadSharing(
        "cross",
        "Cross-attention",
        "MultiHead(...)(x, context=...)",
        "2·S·G·D, once",
        "arXiv:1706.03762",
        "Where one sequence looks at another: a decoder at what an encoder read.",
    ),
)

SHARING: dict[str, HeadSharing] = {way.name: way for way in _ALL}
