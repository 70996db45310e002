"""Explain one experiment of softmax regression in words: how often each outcome occurs, and why."""

import math
from collections.abc import Iterator

from nhin.errors import UsageError
from nhin.format import markdown_table
from nhin.studies.separation.explain_attention import outcome_tables
from nhin.studies.separation.outcomes import SUCCESS
from nhin.studies.separation.regression.config import HIGH, LOW, SPIKE, RegressionConfig
from nhin.studies.separation.regression.exact import exact_outcomes, product_deviations


def explain_regression(config: RegressionConfig) -> str:
    """Return a page about one experiment.

    Raises:
        UsageError: tau is so near 1 that the exact method does not hold.
    """
    if not config.spike_decides:
        raise UsageError(
            f"tau is {config.tau:g}: so near 1 the exact chances are not known; give less, or run "
            "nhin replicate regression --tau"
        )
    return "\n".join(_sections(config)) + "\n"


def _sections(config: RegressionConfig) -> Iterator[str]:
    outcomes = exact_outcomes(config)
    yield f"# n = {config.n}, m = {config.m}, tau = {config.tau:g}\n"
    yield (
        f"u = Ax / ln n is uniform on [{LOW:g}, {HIGH:g}] in D0; in D1 one of its {config.n} entries is "
        f"{SPIKE:g}. A network fires when <f, y> exceeds tau for one of {config.m} random columns y, which "
        f"are {config.weights}."
    )
    yield "\n## What happens\n"
    yield f"Success has the probability **{outcomes[SUCCESS]:.6f}**.\n"
    yield from outcome_tables(outcomes)
    others = config.other_weight / (1 + config.other_weight)
    linear = SPIKE / ((LOW + HIGH) / 2 * config.n)
    yield "## Why\n"
    yield (
        f"* Softmax gives the spike all but {others:.2g} of its weight at least, so it fires on D1 just "
        f"where y is 1 there: {config.m} columns are -1 there with 2^-m = {0.5**config.m:.3g}.\n"
        f"* Linear attention gives the spike {linear:.2g} on average; tau is {config.tau:g}.\n"
        "* On D0 only noise could fire:\n"
    )
    header = ["network", "standard deviation", "tau in those", "Hoeffding and union bound"]
    rows = []
    for name, deviation in zip(("softmax", "linear"), product_deviations(config), strict=True):
        bound = min(1.0, config.m * math.exp(-((config.tau / deviation) ** 2) / 2))
        rows.append([name, f"{deviation:.4f}", f"{config.tau / deviation:.1f}", f"{bound:.3g}"])
    yield markdown_table(header, rows)
