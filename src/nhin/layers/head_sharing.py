"""How query heads can share keys and values, as data: one layer, ``MultiHead``, with different arguments."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeadSharing:
    """One way to share keys and values among heads.

    Args:
        title: Its name in plain words.
        settings: Arguments of ``MultiHead``.
        state: Numbers cached in one layer for one sequence of S positions.
        source: The paper.
        use: When to choose it, in one sentence.
    """

    title: str
    settings: str
    state: str
    source: str
    use: str


SHARING: dict[str, HeadSharing] = {
    "single-head": HeadSharing(
        title="One head",
        settings="heads=1",
        state="2·S·D",
        source="arXiv:1409.0473",
        use="To study attention, and where one relation between positions is enough.",
    ),
    "multi-head": HeadSharing(
        title="Multi-head (MHA)",
        settings="heads=H",
        state="2·S·H·D",
        source="arXiv:1706.03762",
        use="By default, and where memory in decoding does not matter.",
    ),
    "multi-query": HeadSharing(
        title="Multi-query (MQA)",
        settings="heads=H, kv_heads=1",
        state="2·S·D",
        source="arXiv:1911.02150",
        use="For the smallest cache: decoding on small devices and in large batches.",
    ),
    "grouped-query": HeadSharing(
        title="Grouped-query (GQA)",
        settings="heads=H, kv_heads=G",
        state="2·S·G·D",
        source="arXiv:2305.13245",
        use="Between the two: nearly the quality of multi-head with a cache H/G times smaller.",
    ),
    "cross": HeadSharing(
        title="Cross-attention",
        settings="MultiHead(...)(x, context=...)",
        state="2·S·G·D, once",
        source="arXiv:1706.03762",
        use="Where one sequence attends to another: a decoder to the output of an encoder.",
    ),
}
