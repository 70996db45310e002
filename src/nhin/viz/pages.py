"""Pages of the documentation, made from docstrings and ``Facts``: nothing in them is written twice."""

from collections.abc import Iterable, Iterator

from matplotlib.figure import Figure

from nhin.attention.base import ABILITIES
from nhin.viz import figures
from nhin.viz.catalogue import FAMILIES, Entry, catalogue
from nhin.viz.inputs import made, settings_for, vectors, words
from nhin.viz.told import Formula, sentences

NOTE = "<!-- Made by `make pages`; change the docstring, not this file. -->"
HEADS, HEAD_DIM, PLACES = 4, 16, 32


def mechanism(one: Entry) -> str:
    """Return the page of a mechanism."""
    facts = one.mechanism
    assert facts is not None, "positions and the rest have no page of their own"
    file = f"../../src/nhin/attention/{_file(one)}"
    parts = [
        NOTE,
        f"# {facts.title}",
        sentences(one.told.title),
        f"![Who sees whom, and weights]({one.name}.png)",
        *_body(one),
        "## In short",
        table(("", ""), _facts(one)),
        "## Example",
        f"```python\n{example(one)}```",
    ]
    if one.settings:
        rows = [
            (f"`{name}`", f"`{default}`" if default else "", sentences(said))
            for name, (default, said) in one.settings.items()
        ]
        parts += ["## Settings", table(("setting", "default", "what it is"), rows)]
    parts += ["## How it differs from the paper", _sentence(one.told.remarks.get("Differs", "nothing"))]
    parts.append(
        f"[The code]({file}) · [all mechanisms](README.md) · [cost, declared and measured](../compare.md)"
    )
    return "\n\n".join(parts) + "\n"


def example(one: Entry) -> str:
    """Return ten lines that build a mechanism, call it, look inside, and check that all agree."""
    known = one.mechanism.abilities if one.mechanism else frozenset()
    small = "".join(f", {name}={value!r}" for name, value in settings_for(one.name, 12).items())
    way = ", causal=True" if "causal" in known else ""
    decodes = "decode" in known
    lines = [
        "import torch",
        *(["from nhin.attention.base import Room"] if decodes else []),
        "from nhin.attention.registry import build",
        "",
        "q, k, v = torch.randn(3, 1, 12, 4, 16)  # 1 sequence of 12 places, 4 heads of width 16",
        f'attend = build("{one.name}", heads=4, head_dim=16{small})',
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


def picture(one: Entry) -> Figure:
    """Return the picture of a mechanism's page."""
    settings = settings_for(one.name, PLACES)
    q = vectors(words(PLACES), HEADS, HEAD_DIM)
    return figures.card(
        figures.Scene(made(one.name, HEADS, HEAD_DIM, settings), q, q, False, settings=settings)
    )


def index() -> str:
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
                _link(facts.source),
                sentences(facts.use),
            )
            for one in catalogue()
            if (facts := one.mechanism) is not None and facts.family == family
        ]
        parts += [f"## {title}", table(("name", "", "time", "memory", "source", "when"), rows)]
    return "\n\n".join(parts) + "\n"


def positions() -> str:
    """Return the page of all positions."""
    parts = [
        NOTE,
        "# Positions: how a place is known",
        "Attention itself does not know in which order keys stand. A position is added to the inputs, turns "
        "queries and keys in every layer, or is added to the scores: the biases "
        "[`alibi`](mechanisms/alibi.md) and [`t5`](mechanisms/t5.md) are mechanisms of their own.",
    ]
    chosen = [one for one in catalogue() if one.kind == "position"]
    rows = [
        (f"[`{one.name}`](#{one.name})", one.title, one.facts["where"], one.facts["extends"])
        for one in chosen
    ]
    parts.append(table(("name", "", "acts on", "beyond the trained length"), rows))
    for one in chosen:
        remarks = [(label, sentences(text)) for label, text in one.told.remarks.items()]
        parts += [f"## {one.name}", sentences(one.told.title), *_body(one)]
        parts.append(table(("", ""), [("When", one.use), *remarks]))
    return "\n\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _body(one: Entry) -> Iterator[str]:
    for part in one.told.body:
        yield _mathematics(part) if isinstance(part, Formula) else sentences(part)


def _mathematics(formula: Formula) -> str:
    """Return displayed mathematics; lines that are aligned with each other stay in one display."""
    if any("&" in line and "\\begin" not in line for line in formula.lines):
        inside = " \\\\\n".join(formula.lines)
        return f"```math\n\\begin{{aligned}}\n{inside}\n\\end{{aligned}}\n```"
    return "\n\n".join(f"```math\n{line}\n```" for line in formula.lines)


def _facts(one: Entry) -> Iterator[tuple[str, str]]:
    facts = one.mechanism
    assert facts is not None
    yield "When to use it", sentences(facts.use)
    for label in ("Cost", "Causal"):
        if label in one.told.remarks:
            yield label, _sentence(one.told.remarks[label])
    yield "Softmax attention up to rounding", "yes" if facts.exact else "no"
    yield "Decoding keeps, for one sequence", f"{facts.state} numbers" if facts.state else "it cannot decode"
    yield "Can", "<br>".join(f"**{a}**: {ABILITIES[a]}" for a in ABILITIES if a in facts.abilities)
    lacks = [a for a in ABILITIES if a not in facts.abilities]
    if lacks:
        yield "Cannot", "<br>".join(f"**{a}**: {ABILITIES[a]}" for a in lacks)
    yield "Source", sentences(one.told.remarks["Source"])


def _sentence(text: str) -> str:
    text = sentences(text)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _link(source: str) -> str:
    return ", ".join(
        f"[{part.removeprefix('arXiv:')}](https://arxiv.org/abs/{part.removeprefix('arXiv:')})"
        if part.startswith("arXiv:")
        else part
        for part in source.split(", ")
    )


def _file(one: Entry) -> str:
    from nhin.attention.registry import MECHANISMS

    return MECHANISMS[one.name].__module__.rpartition(".")[2] + ".py"
