"""Claims that whole studies check: arXiv:2310.11685 by exact probabilities, and a ladder of models."""

from itertools import pairwise
from pathlib import Path

from nhin.errors import DataError
from nhin.files import read_json
from nhin.metrics.statistics import Interval, confidence_interval
from nhin.studies.claims.claim import Bound, Measured, SourceClaim
from nhin.studies.separation import attention_exact, regression_exact
from nhin.studies.separation.config import AttentionConfig, RegressionConfig
from nhin.studies.separation.outcomes import SUCCESS

LADDER = Path(__file__).parents[4] / "benchmarks" / "ladder-64-long.json"  # in a copy of the repository


def measure_regression() -> Measured:
    """Compute the success probability of softmax regression against linear regression."""
    configs = (RegressionConfig(n=1000, m=7), RegressionConfig(n=2000, m=8))
    return [float(regression_exact.exact_outcomes(config)[SUCCESS]) for config in configs]


def measure_separation() -> Measured:
    """Compute the success probability of self-attention for many and few classes, and a large spike."""
    configs = (
        AttentionConfig(n=256, d=66, m=15),
        AttentionConfig(n=200, d=12, m=15),
        AttentionConfig(n=200, d=22, m=15, a1=3.0),
    )
    return [float(attention_exact.exact_outcomes(config)[SUCCESS]) for config in configs]


def measure_ladder(path: Path = LADDER) -> list[Interval] | str:
    """Read how many nats twice the depth gains, paired by seed, from the results of a ladder."""
    if not path.exists():
        return "takes 50 minutes: nhin ladder --budget 55m --dim 64"
    rows = read_json(path, DataError)["rows"]
    figures: list[Interval] = []
    for family in ("lm-modern", "lm-blocks"):
        stack = [row["nats"] for row in rows if row["family"] == family]
        figures += [
            confidence_interval([a - b for a, b in zip(one, two, strict=True)])
            for one, two in pairwise(stack)
        ]
    return figures


_STUDIES, _PAPER = "Whole studies", "Deng et al. 2023, arXiv:2310.11685"
CLAIMS = (
    SourceClaim(
        "softmax-regression",
        _STUDIES,
        "Softmax regression with random weights tells the two data sets apart, linear regression does not.",
        f"{_PAPER}, sec. 4 and 5",
        (Bound("probability at n = 1,000", low=0.95), Bound("at n = 2,000", low=0.95)),
        measure_regression,
        "exact probability; more by `nhin replicate regression`",
    ),
    SourceClaim(
        "softmax-attention",
        _STUDIES,
        "So does self-attention, with high probability.",
        f"{_PAPER}, theorem 6.2",
        (
            Bound("probability, n = 256, d = 66", low=0.95),
            Bound("n = 200, d = 12", low=0.95),
            Bound("n = 200, d = 22, a1 = 3", low=0.95),
        ),
        measure_separation,
        "exact probability; more by `nhin replicate self`, reasons in softmax-versus-linear.md",
    ),
    SourceClaim(
        "deeper-better",
        _STUDIES,
        "Perplexity falls from depth 2 to 4 to 8.",
        "the source report's ladder of language models",
        tuple(
            Bound(f"nats gained, {kind} blocks, {step}", low=0.0)
            for kind in ("modern", "plain")
            for step in ("2 to 4", "4 to 8")
        ),
        measure_ladder,
        (
            "recorded by `nhin ladder --budget 55m --dim 64` on two cores of an AMD EPYC: "
            "benchmarks/ladder-64-long.json, ladder.md; 1,675 steps, tuned rates, 3 seeds"
        ),
    ),
)
