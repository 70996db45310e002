"""The report of a ladder in Markdown: all models, the stacks by depth, and the claims of the sources."""

from collections.abc import Iterator

from nhin.format import count_noun, format_bytes, format_duration, markdown_table
from nhin.studies.ladder.models import STACKS
from nhin.studies.ladder.results import UNKNOWN, LadderResults, LadderRow

# Depth: perplexity and milliseconds of a step, as the sources print them.
SOURCES = {2: (38.5, 1.2), 4: (29.4, 2.3), 8: (21.7, 4.8), 12: (18.9, 7.5)}
_COLUMNS = (
    *("rung", "parameters", "nats per token", "each seed", "bits per byte"),
    *("perplexity", "ms a step", "memory", "rate", "CPU-s"),
)
_NOTES = (
    "Nats are means over seeds with their 95% intervals (Student's t). The time of a step is CPU time, the "
    "median of {rounds} rounds in which every model took one step. Memory is the activations that one "
    "sequence keeps for the gradient. The parameters of n-grams are the different ones counted. Rates were "
    "tried for a third of the steps, with seed 0, on the validation split; ! marks one at the edge of those "
    "tried."
)
_HEADINGS = {"yes": "Reproduced", "no": "Did NOT reproduce", UNKNOWN: "Cannot be decided from these runs"}


def format_report(results: LadderResults) -> str:
    """Return the report of a ladder."""
    return "\n\n".join(_sections(results)) + "\n"


def _sections(results: LadderResults) -> Iterator[str]:
    about = results.about
    yield "# The ladder"
    yield (
        f"{about['text']}, {about['tokenizer']} ({about['vocab']:,} ids): trained on {about['trained_on']:,} "
        f"tokens, evaluated on the whole {about['split']} split, {about['measured_tokens']:,} tokens. "
        f"Every network has width {about['dim']}, context {about['context']} and "
        f"{count_noun(about['heads'], 'head')}, except lm-one-head; every run takes "
        f"{about['steps']:,} steps of {about['batch']} sequences, {about['tokens']:,} tokens."
    )
    yield (
        f"{format_duration(about['spent'])} of CPU time, of a budget of {format_duration(about['budget'])}, "
        f"on {count_noun(about['threads'], 'thread')}: {about['machine']}."
    )
    yield markdown_table(_COLUMNS, map(_model_cells, results.rows), numeric=True).rstrip()
    notes = _NOTES.format(rounds=about["rounds"])
    if about["split"] == "validation":
        notes += "\nThere is no test split: models were evaluated where their rates were chosen."
    yield notes
    yield "## By depth"
    yield _depth_table(results).rstrip()
    for answer, heading in _HEADINGS.items():
        claims = [f"* **{one.claim}**: {one.figures}." for one in results.verdicts if one.answer == answer]
        if claims:
            yield f"## {heading}"
            yield "\n".join(claims)


def _model_cells(row: LadderRow) -> tuple[str, ...]:
    return (
        row.rung,
        f"{row.parameters:,}",
        _number(row.mean, 4) + ("" if row.half is None else f" ± {row.half:.4f}"),
        "" if len(row.nats) < 2 else " ".join(_number(one, 4) for one in row.nats),
        _number(row.bits_per_byte, 4),
        _number(row.perplexity, 2),
        "" if row.ms is None else f"{row.ms:.1f}",
        "" if row.memory is None else format_bytes(row.memory),
        "" if row.rate is None else f"{row.rate:g}{'!' if row.edge else ''}",
        f"{row.cpu_seconds:.1f}",
    )


def _depth_table(results: LadderResults) -> str:
    """Return the table of the stacks by depth, with the lines fitted to time and memory."""
    by_depth = {(row.family, row.depth): row for row in results.rows if row.family in STACKS}
    families = [family for family in STACKS if any(family == name for name, _ in by_depth)]
    columns = [f"{family}: {what}" for family in families for what in ("perplexity", "ms a step", "memory")]
    rows = []
    for depth in sorted({depth for _, depth in by_depth}):
        cells = [str(depth)]
        for family in families:
            row = by_depth[family, depth]
            cells += [_number(row.perplexity, 2), _number(row.ms, 1), _memory(row.memory)]
        rows.append([*cells, *map(str, SOURCES.get(depth, ("", "")))])
    for name, field in (("at depth 0", "start"), ("a block", "slope"), ("R²", "fit")):
        cells = [name]
        for family in families:
            lines = results.lines.get(family, {})
            time, memory = (getattr(lines.get(key), field, None) for key in ("time", "memory"))
            fit = field == "fit"
            cells += ["", _number(time, 5 if fit else 1), _number(memory, 5) if fit else _memory(memory)]
        rows.append([*cells, "", ""])
    return markdown_table(("depth", *columns, "sources: perplexity", "sources: ms"), rows, numeric=True)


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:,.{digits}f}"


def _memory(value: float | None) -> str:
    return "none" if value is None else format_bytes(value)
