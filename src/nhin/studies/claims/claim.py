"""A claim of a source, what was measured for it, and the verdict that follows from its bounds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from nhin.bench.timing import Median
from nhin.errors import DataError
from nhin.metrics.statistics import Interval, confidence_interval
from nhin.ranges import Length

Verdict = Literal["holds", "holds in part", "does not hold here", "not decided", "not measurable here"]
# A number without chance, one value per seed, or a value with its interval; or why nothing is measured.
Measured = Sequence[float | Sequence[float] | Median | Interval] | str


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure of a claim and the range in which it must lie; one without ends only informs."""

    what: str
    low: float = -math.inf
    high: float = math.inf

    @property
    def informs_only(self) -> bool:
        """Whether it has no ends."""
        return math.isinf(self.low) and math.isinf(self.high)


@dataclass(frozen=True, slots=True)
class ClaimFigure:
    """A measured figure; ``low`` and ``high`` are its interval of 95%, None where chance has no part."""

    what: str
    value: float
    low: float | None = None
    high: float | None = None

    def judge(self, bound: Bound) -> bool | None:
        """Return whether it is within its bound; None where its interval reaches over an end."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if bound.low <= low and high <= bound.high:
            return True
        return False if high < bound.low or low > bound.high else None


@dataclass(frozen=True, slots=True)
class SourceClaim:
    """What a source says and how it is checked.

    Args:
        name: Its name for the command line.
        group: Its heading on the page.
        says: The claim in one sentence.
        source: Paper and section.
        bounds: The figures in the order in which ``measure`` returns them.
        measure: Measures them, or returns why it cannot here.
        how: What was measured, in one phrase.
    """

    name: str
    group: str
    says: str
    source: str
    bounds: tuple[Bound, ...]
    measure: Callable[[], Measured]
    how: str


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What was measured for a claim, or the ``reason`` why nothing was.

    Args:
        name: The claim's name.
        figures: In the order of its bounds.
        reason: Why nothing was measured.
        seconds: CPU time that it took.
        date: Of the measurement, YYYY-MM-DD.
        load: Average number of running programs before it, where the system tells.
    """

    name: str
    figures: Annotated[tuple[ClaimFigure, ...], Length(0, 64)] = ()
    reason: str | None = None
    seconds: float = 0.0
    date: str = ""
    load: float | None = None


def make_figure(what: str, value: float | Sequence[float] | Median | Interval) -> ClaimFigure:
    """Return a figure; several values become their mean and its interval, one stays as it is."""
    if isinstance(value, Median):
        return ClaimFigure(what, value.value, value.low, value.high)
    if isinstance(value, Interval):
        return ClaimFigure(what, value.mean, value.low, value.high)
    if not isinstance(value, Sequence):
        return ClaimFigure(what, float(value))
    return make_figure(what, confidence_interval(value) if len(value) > 1 else value[0])


def has_figures_of(claim: SourceClaim, result: ClaimResult) -> bool:
    """Return whether a result has the figures that a claim asks for, or a reason."""
    names = [figure.what for figure in result.figures]
    return result.reason is not None or names == [bound.what for bound in claim.bounds]


def judge(claim: SourceClaim, result: ClaimResult) -> Verdict:
    """Return the verdict: all bounds kept, some, or none.

    Raises:
        DataError: The result has other figures than the claim.
    """
    if result.reason is not None:
        return "not measurable here"
    if not has_figures_of(claim, result):
        raise DataError(f"{claim.name} was measured with another version of nhin; measure it again")
    pairs = zip(result.figures, claim.bounds, strict=True)
    answers = [figure.judge(bound) for figure, bound in pairs if not bound.informs_only]
    if all(answers):
        return "holds"
    if any(answers):
        return "holds in part"
    return "not decided" if None in answers else "does not hold here"
