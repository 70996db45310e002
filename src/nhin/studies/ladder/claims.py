"""What the sources claim about depth, and whether it holds here: yes, no, or unknown."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from nhin.format import count_noun
from nhin.metrics.statistics import Interval, LinearFit, confidence_interval
from nhin.studies.ladder.results import Answer, Claim, LadderRow, improvement

UNKNOWN: Answer = "cannot be told"
MIN_FIT = 0.99
BASELINE_ORDER = 5
_MIN_POINTS = 3  # any two points lie on a line


def check_claims(rows: Sequence[LadderRow], lines: Mapping[str, Mapping[str, LinearFit]]) -> Iterator[Claim]:
    """Check the claims of the sources against the results of a ladder."""
    singles = [row for row in rows if row.family in ("lm-bigram", "lm-one-head", "lm-one-block")]
    if len(singles) > 1:
        yield _claim_order("each part buys something", singles, [row.rung for row in singles])
    for family, both in lines.items():
        stack = [row for row in rows if row.family == family]
        names = [str(row.depth) for row in stack]
        yield _claim_order(f"{family}: perplexity falls with depth", stack, names)
        if "time" in both:
            yield _claim_linear(f"{family}: time of a step is linear in depth", both["time"], stack, "ms")
        if "memory" in both:
            yield _claim_linear(f"{family}: memory is linear in depth", both["memory"], stack, "KB")
    baseline = next((row for row in rows if (row.family, row.depth) == ("lm-ngram", BASELINE_ORDER)), None)
    networks = [row for row in rows if row.family != "lm-ngram" and row.mean is not None]
    if baseline is not None and baseline.mean is not None and networks:
        yield _claim_beats(baseline, baseline.mean, networks)


def _claim_order(claim: str, rows: Sequence[LadderRow], names: Sequence[str]) -> Claim:
    """Check that each model has fewer nats than the one before, by differences paired by seed."""
    answers, parts = [], []
    for (one, two), (first, second) in zip(pairwise(rows), pairwise(names), strict=True):
        gain = improvement(one, two)
        answers.append(_is_positive(gain))
        parts.append(f"{first} over {second} {_format_gain(gain)} ({answers[-1]})")
    edges = [row.rung for row in rows if row.edge]
    note = f"; the best rate of {', '.join(edges)} is at the edge of those tried" if edges else ""
    seeds = count_noun(len(rows[0].nats), "seed")
    figures = f"{', '.join(parts)} nats; paired over {seeds}, 95%{note}"
    answer = "no" if "no" in answers else UNKNOWN if UNKNOWN in answers else "yes"
    return Claim(f"{claim}, {' > '.join(names)}", answer, figures)


def _is_positive(gain: Interval | None) -> Answer:
    if gain is None or gain.low <= 0 <= gain.high:
        return UNKNOWN
    return "yes" if gain.low > 0 else "no"


def _format_gain(gain: Interval | None) -> str:
    if gain is None:
        return "diverged"
    return f"{gain.mean:+.4f}" + (f" ± {gain.half_width:.4f}" if gain.half_width < float("inf") else "")


def _claim_linear(claim: str, line: LinearFit, rows: Sequence[LadderRow], unit: str) -> Claim:
    """Check that a quantity is linear in depth."""
    scale = 1024 if unit == "KB" else 1
    figures = (
        f"R² {line.fit:.5f}, {MIN_FIT} wanted: {line.start / scale:.1f} {unit} and {line.slope / scale:.1f} "
        f"{unit} a block, from depths {', '.join(str(row.depth) for row in rows)}"
    )
    if len(rows) < _MIN_POINTS:
        return Claim(claim, UNKNOWN, f"{figures}; a line goes through any two, give {_MIN_POINTS} depths")
    return Claim(claim, "yes" if line.fit >= MIN_FIT else "no", figures)


def _claim_beats(baseline: LadderRow, level: float, networks: Sequence[LadderRow]) -> Claim:
    """Check that a network has fewer nats than n-grams."""

    def gain(row: LadderRow) -> Interval:
        return confidence_interval([level - one for one in row.finite_nats])

    best = min(networks, key=lambda row: row.mean or 0.0)
    better = [row.rung for row in networks if _is_positive(gain(row)) == "yes"]
    figures = f"the best network, {best.rung}, has {best.mean:.4f} nats and {baseline.rung} {level:.4f}: "
    figures += f"{abs(gain(best).mean):.4f} {'less' if gain(best).mean > 0 else 'more'}"
    if better:
        figures += f"; surely better: {', '.join(better)}"
    return Claim(f"a network beats the {BASELINE_ORDER}-gram", _is_positive(gain(best)), figures)
