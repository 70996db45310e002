"""What the sources say of depth, and whether it holds here: yes, no, or not to be told."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from nhin.lm.ladder.rows import Row, gained
from nhin.metrics.statistics import Interval, LinearFit, confidence_interval

Answer = Literal["yes", "no", "cannot be told"]
UNKNOWN: Answer = "cannot be told"
STRAIGHT = 0.99
CONTROL = 5
_POINTS = 3  # a line goes through any two


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, whether it holds here, and by which figures."""

    claim: str
    answer: Answer
    figures: str


def verdicts(rows: Sequence[Row], lines: Mapping[str, Mapping[str, LinearFit]]) -> Iterator[Verdict]:
    """Judge what the sources say by the figures of a climb."""
    singles = [row for row in rows if row.family in ("lm-bigram", "lm-one-head", "lm-one-block")]
    if len(singles) > 1:
        yield _ordering("each part buys something", singles, [row.rung for row in singles])
    for family, both in lines.items():
        some = [row for row in rows if row.family == family]
        names = [str(row.depth) for row in some]
        yield _ordering(f"{family}: perplexity falls with depth", some, names)
        if "time" in both:
            yield _straight(f"{family}: time of a step is linear in depth", both["time"], some, "ms")
        if "memory" in both:
            yield _straight(f"{family}: memory is linear in depth", both["memory"], some, "KB")
    control = next((row for row in rows if (row.family, row.depth) == ("lm-ngram", CONTROL)), None)
    networks = [row for row in rows if row.family != "lm-ngram" and row.mean is not None]
    if control is not None and control.mean is not None and networks:
        yield _beaten(control, control.mean, networks)


def _ordering(claim: str, rows: Sequence[Row], names: Sequence[str]) -> Verdict:
    """Judge whether each costs less than the one before, by their differences seed by seed."""
    answers, words = [], []
    for (one, two), pair in zip(pairwise(rows), pairwise(names), strict=True):
        gain = gained(one, two)
        answers.append(_sign(gain))
        words.append(f"{pair[0]} over {pair[1]} {_said(gain)} ({answers[-1]})")
    edges = [row.rung for row in rows if row.edge]
    note = f"; the best rate of {', '.join(edges)} is at the edge of those tried" if edges else ""
    seeds = len(rows[0].nats)
    figures = f"{', '.join(words)} nats; paired over {seeds} seed{'s' * (seeds != 1)}, 95%{note}"
    answer = "no" if "no" in answers else UNKNOWN if UNKNOWN in answers else "yes"
    return Verdict(f"{claim}, {' > '.join(names)}", answer, figures)


def _sign(gain: Interval | None) -> Answer:
    if gain is None or gain.low <= 0 <= gain.high:
        return UNKNOWN
    return "yes" if gain.low > 0 else "no"


def _said(gain: Interval | None) -> str:
    if gain is None:
        return "diverged"
    return f"{gain.mean:+.4f}" + (f" ± {gain.half_width:.4f}" if gain.half_width < float("inf") else "")


def _straight(claim: str, line: LinearFit, rows: Sequence[Row], unit: str) -> Verdict:
    """Judge whether something is a straight line over depth."""
    scale = 1024 if unit == "KB" else 1
    figures = (
        f"R² {line.fit:.5f}, {STRAIGHT} wanted: {line.start / scale:.1f} {unit} and {line.slope / scale:.1f} "
        f"{unit} a block, from depths {', '.join(str(row.depth) for row in rows)}"
    )
    if len(rows) < _POINTS:
        return Verdict(claim, UNKNOWN, f"{figures}; a line goes through any two, give {_POINTS} depths")
    return Verdict(claim, "yes" if line.fit >= STRAIGHT else "no", figures)


def _beaten(control: Row, level: float, networks: Sequence[Row]) -> Verdict:
    """Judge whether a network costs less than n-grams."""
    best = min(networks, key=lambda row: row.mean or 0.0)
    apart = confidence_interval([level - one for one in best.whole])
    beaten = [
        row.rung
        for row in networks
        if _sign(confidence_interval([level - one for one in row.whole])) == "yes"
    ]
    figures = f"the best network, {best.rung}, has {best.mean:.4f} nats and {control.rung} {level:.4f}: "
    figures += f"{abs(apart.mean):.4f} {'less' if apart.mean > 0 else 'more'}"
    if beaten:
        figures += f"; surely better: {', '.join(beaten)}"
    return Verdict(f"a network beats the {CONTROL}-gram", _sign(apart), figures)
