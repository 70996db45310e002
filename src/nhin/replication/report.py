"""A short report in Markdown: what every sweep gave, which condition failed where, how methods agree."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from nhin.replication.choices import RECONSTRUCTION
from nhin.replication.figures import TITLES
from nhin.replication.measure import Result
from nhin.replication.nets import NETS, WORDS
from nhin.replication.rows import agreement, by_sweep
from nhin.replication.sweeps import Family
from nhin.replication.table import markdown

_INNER = {"": "", "eye": "vec(I)", "ones": "1"}


def report(families: Mapping[Family, Sequence[Result]], checked: str = "") -> str:
    """Return the report.

    Args:
        families: Results by family.
        checked: What was found out about the dense method.
    """
    lines = ["# Softmax against linear attention, replicated\n"]
    lines.append(
        "The experiments of arXiv:2310.11685. Success: softmax attention fires on D1, which holds a spike, "
        "and stays silent on D0, which does not, while linear attention stays silent on both. Points of the "
        "paper's sweeps; choices it leaves open are in manifest.json. The paper's own curves were not "
        "available.\n"
    )
    for family, results in families.items():
        lines += _family(family, results)
    if checked:
        lines += ["## The definition, step by step\n", checked]
    return "\n".join(lines).rstrip() + "\n"


def _family(family: str, results: Sequence[Result]) -> Iterator[str]:
    yield f"## {TITLES[family].split(' (')[0]}\n"
    if family == "cross":
        yield f"**Note: {RECONSTRUCTION}.**\n"
    yield f"![success]({family}.png)\n\n![conditions]({family}-conditions.png)\n"
    header = [
        "sweep",
        "X",
        "points",
        "least",
        "greatest",
        "crosses half its greatest at",
        "what fails where it is least",
    ]
    yield markdown(header, (_sweep(*panel) for panel in by_sweep(results)))
    found = agreement(results)
    if found is not None:
        yield (
            f"Of {found.points} points drawn with {results[0].repeats} repeats, {found.covered} "
            f"({found.covered / found.points:.1%}) have the exact chance within their 95% interval; the "
            f"mean squared distance is {found.square:.2f} squared standard errors, the largest "
            f"{found.worst:.1f} standard errors (points where fewer than one success or failure is expected "
            "aside).\n"
        )


def _sweep(sweep: str, inner: str, some: Sequence[Result]) -> list[str]:
    # Of a plateau, whose chances differ by rounding, the first point.
    least, most = min(some, key=_rounded), max(some, key=_rounded)
    return [
        sweep,
        _INNER[inner],
        str(len(some)),
        f"{least.best:.3f} at {least.point.x:g}",
        f"{most.best:.3f} at {most.point.x:g}",
        ", ".join(crossings(some)) or "nowhere",
        worst(least),
    ]


def crossings(some: Sequence[Result]) -> list[str]:
    """Return where success rises or falls through half of its greatest chance."""
    half = max(result.best for result in some) / 2
    found = []
    for one, two in pairwise(some):
        if (one.best < half) != (two.best < half):
            share = (half - one.best) / (two.best - one.best)
            x = one.point.x + share * (two.point.x - one.point.x)
            found.append(f"{'rises' if two.best > one.best else 'falls'} {x:.3g}")
    return found


def worst(result: Result) -> str:
    """Return which condition fails most at a point."""
    rates = result.rates
    failing = [1 - rates[0], *rates[1:]]
    place = max(range(len(NETS)), key=lambda at: failing[at])
    said = "softmax is silent on D1" if place == 0 else WORDS[NETS[place]]
    return f"{said}: {failing[place]:.3f}"


def _rounded(result: Result) -> float:
    return round(result.best, 9)
