"""A climb as a page: the table of rungs, the table the sources print, and what did not reproduce."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from nhin.lm.ladder.rows import Row
from nhin.lm.ladder.rungs import STACKS
from nhin.lm.ladder.table import Ladder
from nhin.lm.ladder.verdicts import UNKNOWN
from nhin.lm.ladder.words import spoken
from nhin.metrics.statistics import LinearFit

Said = Literal["start", "slope", "fit"]
# What the sources print for depth: perplexity, and milliseconds of a step.
SOURCES = {2: (38.5, 1.2), 4: (29.4, 2.3), 8: (21.7, 4.8), 12: (18.9, 7.5)}
_RUNGS = (
    "rung",
    "parameters",
    "nats per token",
    "each seed",
    "bits per byte",
    "perplexity",
    "ms a step",
    "memory",
    "rate",
    "CPU-s",
)
_NOTES = (
    "Nats are means over seeds, with what a mean of so few leaves open (95%, Student's t). The time of a "
    "step is CPU time, the median of {rounds} rounds in which every rung took one. Memory is what one text "
    "of a batch leaves for the gradient. N-grams have different grams for parameters. Rates were tried at a "
    "third of the steps, with seed 0, on the validation split; ! marks one at the edge of those tried."
)
_HEADS = {"yes": "Reproduced", "no": "Did NOT reproduce", UNKNOWN: "Cannot be told from these runs"}


def page(ladder: Ladder) -> str:
    """Write a climb down in Markdown."""
    return "\n".join(_lines(ladder)) + "\n"


def _lines(ladder: Ladder) -> Iterator[str]:
    about = ladder.about
    yield "# The ladder"
    yield ""
    yield (
        f"{about['text']}, {about['tokenizer']} ({about['vocab']:,} ids): trained on {about['trained_on']:,} "
        f"tokens, measured on the whole {about['split']} split, {about['measured_tokens']:,} tokens. "
        f"Every network has width {about['dim']}, context {about['context']} and "
        f"{_several(about['heads'], 'head')}, but for one head where one is its name; every run takes "
        f"{about['steps']:,} steps of {about['batch']} texts, {about['tokens']:,} tokens."
    )
    yield ""
    yield (
        f"{spoken(about['spent'])} of CPU time, of a budget of {spoken(about['budget'])}, on "
        f"{_several(about['threads'], 'thread')}: {about['machine']}."
    )
    yield ""
    yield from _table(_RUNGS, [_rung(row) for row in ladder.rows])
    yield ""
    yield _NOTES.format(rounds=about["rounds"])
    if about["split"] == "validation":
        yield "There is no test split, so that all was measured where rates were chosen."
    yield ""
    yield "## By depth"
    yield ""
    yield from _by_depth(ladder)
    for answer, head in _HEADS.items():
        some = [verdict for verdict in ladder.verdicts if verdict.answer == answer]
        if some:
            yield from ("", f"## {head}", "")
            yield from (f"* **{verdict.claim}**: {verdict.figures}." for verdict in some)


def _rung(row: Row) -> tuple[str, ...]:
    rate = "" if row.rate is None else f"{row.rate:g}{'!' if row.edge else ''}"
    several = "" if len(row.nats) < 2 else " ".join(_number(one, 4) for one in row.nats)
    return (
        row.rung,
        f"{row.parameters:,}",
        _number(row.mean, 4) + ("" if row.half is None else f" ± {row.half:.4f}"),
        several,
        _number(row.bits_per_byte, 4),
        _number(row.perplexity, 2),
        "" if row.ms is None else f"{row.ms:.1f}",
        "" if row.memory is None else _memory(row.memory),
        rate,
        f"{row.cpu_seconds:.1f}",
    )


def _by_depth(ladder: Ladder) -> Iterator[str]:
    families = [family for family in STACKS if any(row.family == family for row in ladder.rows)]
    found = {(row.family, row.depth): row for row in ladder.rows}
    depths = sorted({depth for family, depth in found if family in families})
    columns = [f"{family}: {what}" for family in families for what in ("perplexity", "ms a step", "memory")]
    rows = []
    for depth in depths:
        cells = [str(depth)]
        for family in families:
            row = found[family, depth]
            cells += [_number(row.perplexity, 2), _number(row.ms, 1), _memory(row.memory)]
        cells += [f"{value}" for value in SOURCES.get(depth, ("", ""))]
        rows.append(tuple(cells))
    fits = [ladder.lines.get(family, {}) for family in families]
    said: tuple[tuple[str, Said], ...] = (("at depth 0", "start"), ("a block", "slope"), ("R²", "fit"))
    for name, what in said:
        cells = [cell for both in fits for cell in ("", *_of_line(both, what))]
        rows.append((name, *cells, "", ""))
    yield from _table(("depth", *columns, "sources: perplexity", "sources: ms"), rows)


def _of_line(both: Mapping[str, LinearFit], what: Said) -> tuple[str, str]:
    """Say one thing of the lines of time and of memory."""
    time, memory = (getattr(both[kind], what) if kind in both else None for kind in ("time", "memory"))
    if what == "fit":
        return _number(time, 5), _number(memory, 5)
    return _number(time, 1), _memory(memory)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---', *['---:'] * (len(head) - 1)])}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:,.{digits}f}"


def _memory(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value / 2**10:,.0f} KB" if abs(value) < 2**20 else f"{value / 2**20:,.1f} MB"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
