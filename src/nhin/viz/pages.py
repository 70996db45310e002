"""Pages of the documentation, made from docstrings and ``Facts``: nothing in them is written twice."""

from collections.abc import Iterable, Iterator

from matplotlib.figure import Figure

from nhin.attention.base import ABILITIES
from nhin.viz import mechanism_figures
from nhin.viz.catalogue import FAMILIES, Entry, list_entries
from nhin.viz.docstring import Formula, to_markdown
from nhin.viz.inputs import build_mechanism, embed_words, list_example_words, settings_for

NOTE = "<!-- Made by `make pages`; change the docstring, not this file. -->"
HEADS, HEAD_DIM, LENGTH = 4, 16, 32


def build_mechanism_page(entry: Entry) -> str:
    """Return the page of a mechanism."""
    facts = entry.mechanism
    assert facts is not None, "positions and the rest have no page of their own"
    file = f"../../src/nhin/attention/{_source_file(entry)}"
    parts = [
        NOTE,
        f"# {facts.title}",
        to_markdown(entry.doc.title),
        f"![Who sees whom, and weights]({entry.name}.png)",
        *_format_body(entry),
        "## In short",
        format_table(("", ""), _fact_rows(entry)),
        "## Example",
        f"```python\n{build_example(entry)}```",
    ]
    if entry.settings:
        rows = [
            (f"`{name}`", f"`{default}`" if default else "", to_markdown(said))
            for name, (default, said) in entry.settings.items()
        ]
        parts += ["## Settings", format_table(("setting", "default", "what it is"), rows)]
    parts += ["## How it differs from the paper", _to_sentence(entry.doc.remarks.get("Differs", "nothing"))]
    parts.append(
        f"[The code]({file}) · [all mechanisms](README.md) · [cost, declared and measured](../compare.md)"
    )
    return "\n\n".join(parts) + "\n"


def build_example(entry: Entry) -> str:
    """Return ten lines that build a mechanism, call it, look inside, and check that all agree."""
    known = entry.mechanism.abilities if entry.mechanism else frozenset()
    small = "".join(f", {name}={value!r}" for name, value in settings_for(entry.name, 12).items())
    way = ", causal=True" if "causal" in known else ""
    decodes = "decode" in known
    lines = [
        "import torch",
        *(["from nhin.attention.base import Room"] if decodes else []),
        "from nhin.attention.registry import build",
        "",
        "q, k, v = torch.randn(3, 1, 12, 4, 16)  # 1 sequence of 12 places, 4 heads of width 16",
        f'attend = build("{entry.name}", heads=4, head_dim=16{small})',
        f"mixed = attend(q, k, v{way})  # shaped like q",
        f"weights = attend.weights(q, k{way})  # 1 x 4 x 12 x 12: what each query gives each key",
        'assert torch.allclose(torch.einsum("bhts,bshd->bthd", weights, v), mixed, atol=1e-4)',
    ]
    if decodes:
        lines += [
            "with torch.no_grad():  # place by place, from what is remembered: the same answer",
            "    state = attend.new_state(Room(batch=1, context=12, kv_heads=4, head_dim=16))",
            "    steps = [state.step(q[:, [t]], k[:, [t]], v[:, [t]]) for t in range(12)]",
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
        "All stand behind [one contract](../attention-contract.md), keep the same laws, are built by name: "
        '`build("window", heads=8, head_dim=64)`. The same list in a terminal: `nhin list`; pictures: '
        "`nhin show attention`. What each costs, declared and measured: [compare](../compare.md). "
        "How places are known: [positions](../positions.md).",
    ]
    for family, title in FAMILIES.items():
        rows = [
            (
                f"[`{one.name}`]({one.name}.md)",
                one.title,
                facts.time,
                facts.memory,
                _format_sources(facts.source),
                to_markdown(facts.use),
            )
            for one in list_entries()
            if (facts := one.mechanism) is not None and facts.family == family
        ]
        parts += [f"## {title}", format_table(("name", "", "time", "memory", "source", "when"), rows)]
    return "\n\n".join(parts) + "\n"


def build_positions_page() -> str:
    """Return the page of all positions."""
    parts = [
        NOTE,
        "# Positions: how a place is known",
        "Attention itself does not know in which order keys stand. A position is added to the inputs, turns "
        "queries and keys in every layer, or is added to the scores: the biases "
        "[`alibi`](mechanisms/alibi.md) and [`t5`](mechanisms/t5.md) are mechanisms of their own.",
    ]
    chosen = [one for one in list_entries() if one.kind == "position"]
    rows = [
        (f"[`{one.name}`](#{one.name})", one.title, one.facts["where"], one.facts["extends"])
        for one in chosen
    ]
    parts.append(format_table(("name", "", "acts on", "beyond the trained length"), rows))
    for one in chosen:
        remarks = [(label, to_markdown(text)) for label, text in one.doc.remarks.items()]
        parts += [f"## {one.name}", to_markdown(one.doc.title), *_format_body(one)]
        parts.append(format_table(("", ""), [("When", one.use), *remarks]))
    return "\n\n".join(parts) + "\n"


def format_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _format_body(entry: Entry) -> Iterator[str]:
    for part in entry.doc.body:
        yield _format_math(part) if isinstance(part, Formula) else to_markdown(part)


def _format_math(formula: Formula) -> str:
    """Return displayed mathematics; lines that are aligned with each other stay in one display."""
    if any("&" in line and "\\begin" not in line for line in formula.lines):
        inside = " \\\\\n".join(formula.lines)
        return f"```math\n\\begin{{aligned}}\n{inside}\n\\end{{aligned}}\n```"
    return "\n\n".join(f"```math\n{line}\n```" for line in formula.lines)


def _fact_rows(entry: Entry) -> Iterator[tuple[str, str]]:
    facts = entry.mechanism
    assert facts is not None
    yield "When to use it", to_markdown(facts.use)
    for label in ("Cost", "Causal"):
        if label in entry.doc.remarks:
            yield label, _to_sentence(entry.doc.remarks[label])
    yield "Softmax attention up to rounding", "yes" if facts.exact else "no"
    yield "Decoding keeps, for one sequence", f"{facts.state} numbers" if facts.state else "it cannot decode"
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


def _source_file(entry: Entry) -> str:
    from nhin.attention.registry import MECHANISMS

    return MECHANISMS[entry.name].__module__.rpartition(".")[2] + ".py"
