"""The report in Markdown: every sweep, which condition failed where, and the agreement of the methods."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from nhin.format import markdown_table
from nhin.studies.separation.figures import TITLES
from nhin.studies.separation.measure import Measurement, group_by_sweep, measure_agreement
from nhin.studies.separation.options import INNER_TITLES, RECONSTRUCTION
from nhin.studies.separation.outcomes import NET_TITLES, NETS
from nhin.studies.separation.sweeps import Family

_HEADER = (
    *("sweep", "X", "points", "least", "greatest"),
    *("crosses half its greatest at", "what fails where it is least"),
)


def format_report(families: Mapping[Family, Sequence[Measurement]], check: str = "") -> str:
    """Return the report of measurements by family; ``check`` is the result of the check by the definition."""
    lines = ["# Softmax against linear attention, replicated\n"]
    lines.append(
        "The experiments of arXiv:2310.11685. Success: softmax attention fires on D1, which holds a spike, "
        "and stays silent on D0, which does not, while linear attention stays silent on both. Points of the "
        "paper's sweeps; choices it leaves open are in manifest.json. The paper's own curves were not "
        "available.\n"
    )
    for family, results in families.items():
        lines += _format_family(family, results)
    if check:
        lines += ["## The definition, step by step\n", check]
    return "\n".join(lines).rstrip() + "\n"


def _format_family(family: str, results: Sequence[Measurement]) -> Iterator[str]:
    yield f"## {TITLES[family].split(' (')[0]}\n"
    if family == "cross":
        yield f"**Note: {RECONSTRUCTION}.**\n"
    yield f"![success]({family}.png)\n\n![conditions]({family}-conditions.png)\n"
    yield markdown_table(_HEADER, (_sweep_cells(*panel) for panel in group_by_sweep(results)))
    agreement = measure_agreement(results)
    if agreement is not None:
        yield (
            f"Of {agreement.points} points drawn with {results[0].repeats} repeats, {agreement.covered} "
            f"({agreement.covered / agreement.points:.1%}) have the exact chance within their 95% interval; "
            f"the mean squared distance is {agreement.square:.2f} squared standard errors, the largest "
            f"{agreement.worst:.1f} standard errors (points where fewer than one success or failure is "
            "expected aside).\n"
        )


def _sweep_cells(sweep: str, inner: str, group: Sequence[Measurement]) -> list[str]:
    # Rounded: of a plateau, whose rates differ by rounding, the first point.
    least, most = (pick(group, key=lambda r: round(r.success_rate, 9)) for pick in (min, max))
    return [
        sweep,
        INNER_TITLES[inner],
        str(len(group)),
        f"{least.success_rate:.3f} at {least.point.x:g}",
        f"{most.success_rate:.3f} at {most.point.x:g}",
        ", ".join(find_crossings(group)) or "nowhere",
        worst_condition(least),
    ]


def find_crossings(group: Sequence[Measurement]) -> list[str]:
    """Return where success rises or falls through half of its greatest rate."""
    half = max(result.success_rate for result in group) / 2
    crossings = []
    for one, two in pairwise(group):
        before, after = one.success_rate, two.success_rate
        if (before < half) != (after < half):
            x = one.point.x + (half - before) / (after - before) * (two.point.x - one.point.x)
            crossings.append(f"{'rises' if after > before else 'falls'} {x:.3g}")
    return crossings


def worst_condition(result: Measurement) -> str:
    """Return which condition fails most often at a point."""
    failures = [1 - result.rates[0], *result.rates[1:]]
    worst = max(range(len(NETS)), key=lambda net: failures[net])
    title = "softmax is silent on D1" if worst == 0 else NET_TITLES[NETS[worst]]
    return f"{title}: {failures[worst]:.3f}"
