"""Documentation pages of mechanisms and positions, made from docstrings and ``Facts``."""

from collections.abc import Iterator

from doc_markdown import NOTE, format_table, to_markdown
from matplotlib.figure import Figure

from nhin.attention.base import ABILITIES
from nhin.attention.registry import MECHANISMS
from nhin.viz import mechanism_figures
from nhin.viz.catalogue import FAMILIES, Entry, list_entries
from nhin.viz.docstring import Formula
from nhin.viz.inputs import build_mechanism, embed_words, list_example_words, settings_for

HEADS, HEAD_DIM, LENGTH = 4, 16, 32


def build_mechanism_page(entry: Entry) -> str:
    """Return the page of a mechanism."""
    facts = entry.mechanism
    assert facts is not None, "only mechanisms have pages of their own"
    file = f"../../src/{MECHANISMS[entry.name].__module__.replace('.', '/')}.py"
    parts = [
        NOTE,
        f"# {facts.title}",
        to_markdown(entry.doc.title),
        f"![Mask and weights]({entry.name}.png)",
        *_format_body(entry),
        "## In short",
        format_table(("", ""), _fact_rows(entry)),
        "## Example",
        f"```python\n{build_example(entry)}```",
    ]
    if entry.settings:
        rows = [
            (f"`{name}`", f"`{default}`" if default else "", to_markdown(meaning))
            for name, (default, meaning) in entry.settings.items()
        ]
        parts += ["## Settings", format_table(("setting", "default", "meaning"), rows)]
    parts += ["## How it differs from the paper", _to_sentence(entry.doc.remarks.get("Differs", "nothing"))]
    parts.append(
        f"[The code]({file}) · [all mechanisms](README.md) · [cost, declared and measured](../compare.md)"
    )
    return "\n\n".join(parts) + "\n"


def build_example(entry: Entry) -> str:
    """Return about ten lines that build a mechanism, call it, take its weights, and check that all agree."""
    known = entry.mechanism.abilities if entry.mechanism else frozenset()
    small = "".join(f", {name}={value!r}" for name, value in settings_for(entry.name, 12).items())
    causal = ", causal=True" if "causal" in known else ""
    decodes = "decode" in known
    lines = [
        "import torch",
        *(["from nhin.attention.base import CacheSpec"] if decodes else []),
        "from nhin.attention.registry import build",
        "",
        "q, k, v = torch.randn(3, 1, 12, 4, 16)  # 1 sequence of length 12, 4 heads of width 16",
        f'attend = build("{entry.name}", heads=4, head_dim=16{small})',
        f"mixed = attend(q, k, v{causal})  # shaped like q",
        f"weights = attend.weights(q, k{causal})  # 1 x 4 x 12 x 12: what each query gives each key",
        'assert torch.allclose(torch.einsum("bhts,bshd->bthd", weights, v), mixed, atol=1e-4)',
    ]
    if decodes:
        lines += [
            "with torch.no_grad():  # step by step from the cache: the same result",
            "    cache = attend.init_cache(CacheSpec(batch=1, context=12, kv_heads=4, head_dim=16))",
            "    steps = [cache.step(q[:, [t]], k[:, [t]], v[:, [t]]) for t in range(12)]",
            "assert torch.allclose(torch.cat(steps, 1), mixed, atol=1e-4)",
        ]
    return "\n".join(lines) + "\n"


def draw_picture(entry: Entry) -> Figure:
    """Return the picture of a mechanism's page."""
    settings = settings_for(entry.name, LENGTH)
    q = embed_words(list_example_words(LENGTH), HEADS, HEAD_DIM)
    return mechanism_figures.draw_card(
        mechanism_figures.FigureInputs(
            build_mechanism(entry.name, HEADS, HEAD_DIM, settings), q, q, False, settings=settings
        )
    )


def build_index_page() -> str:
    """Return the page that leads to all mechanisms."""
    parts = [
        NOTE,
        "# Attention mechanisms",
        "All keep [one contract](../attention-contract.md), pass the same tests, and are built by name: "
        '`build("window", heads=8, head_dim=64)`. The same list in a terminal: `nhin list`; pictures: '
        "`nhin show attention`. What each costs, declared and measured: [compare](../compare.md). "
        "Position encodings: [positions](../positions.md).",
    ]
    for family, title in FAMILIES.items():
        rows = [
            (
                f"[`{entry.name}`]({entry.name}.md)",
                entry.title,
                facts.time,
                facts.memory,
                _format_sources(facts.source),
                to_markdown(facts.use),
            )
            for entry in list_entries()
            if (facts := entry.mechanism) is not None and facts.family == family
        ]
        parts += [f"## {title}", format_table(("name", "", "time", "memory", "source", "when"), rows)]
    return "\n\n".join(parts) + "\n"


def build_positions_page() -> str:
    """Return the page of all positions."""
    parts = [
        NOTE,
        "# Position encodings",
        "Attention itself does not know the order of its keys. A position encoding is added to the inputs, "
        "rotates queries and keys in every layer, or is added to the scores: the biases "
        "[`alibi`](mechanisms/alibi.md) and [`t5`](mechanisms/t5.md) are mechanisms of their own.",
    ]
    positions = [entry for entry in list_entries() if entry.kind == "position"]
    rows = [
        (f"[`{entry.name}`](#{entry.name})", entry.title, entry.facts["where"], entry.facts["extends"])
        for entry in positions
    ]
    parts.append(format_table(("name", "", "acts on", "beyond the trained length"), rows))
    for entry in positions:
        remarks = [(label, to_markdown(text)) for label, text in entry.doc.remarks.items()]
        parts += [f"## {entry.name}", to_markdown(entry.doc.title), *_format_body(entry)]
        parts.append(format_table(("", ""), [("When", entry.use), *remarks]))
    return "\n\n".join(parts) + "\n"


def _format_body(entry: Entry) -> Iterator[str]:
    for part in entry.doc.body:
        yield _format_math(part) if isinstance(part, Formula) else to_markdown(part)


def _format_math(formula: Formula) -> str:
    """Return displayed mathematics; lines aligned with each other stay in one display."""
    if any("&" in line and "\\begin" not in line for line in formula.lines):
        body = " \\\\\n".join(formula.lines)
        return f"```math\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n```"
    return "\n\n".join(f"```math\n{line}\n```" for line in formula.lines)


def _fact_rows(entry: Entry) -> Iterator[tuple[str, str]]:
    facts = entry.mechanism
    assert facts is not None
    yield "When to use it", to_markdown(facts.use)
    for label in ("Cost", "Causal"):
        if label in entry.doc.remarks:
            yield label, _to_sentence(entry.doc.remarks[label])
    yield "Softmax attention up to rounding", "yes" if facts.exact else "no"
    yield "Cache of one sequence", f"{facts.state} values" if facts.state else "it cannot decode"
    yield "Can", "<br>".join(f"**{a}**: {ABILITIES[a]}" for a in ABILITIES if a in facts.abilities)
    lacks = [a for a in ABILITIES if a not in facts.abilities]
    if lacks:
        yield "Cannot", "<br>".join(f"**{a}**: {ABILITIES[a]}" for a in lacks)
    yield "Source", to_markdown(entry.doc.remarks["Source"])


def _to_sentence(text: str) -> str:
    text = to_markdown(text)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _format_sources(source: str) -> str:
    return ", ".join(
        f"[{part.removeprefix('arXiv:')}](https://arxiv.org/abs/{part.removeprefix('arXiv:')})"
        if part.startswith("arXiv:")
        else part
        for part in source.split(", ")
    )
