"""One experiment of softmax regression in words: what is spread how far, what fires and how often."""

import math
from collections.abc import Iterator

from nhin.errors import UsageError
from nhin.replication.explain import chances
from nhin.replication.nets import SUCCESS
from nhin.replication.regression.exact import outcomes, spread
from nhin.replication.regression.setting import HIGH, LOW, SPIKE, Setting
from nhin.replication.table import markdown


def explain(setting: Setting) -> str:
    """Return a page about one experiment.

    Raises:
        UsageError: tau is so near 1 that the chances are not known exactly.
    """
    if not setting.spike_decides:
        raise UsageError(
            f"tau is {setting.tau:g}: so near 1 the exact chances are not known; give less, or run "
            "nhin replicate regression --tau"
        )
    return "\n".join([*_given(setting), *_chances(setting), *_reasons(setting)]) + "\n"


def _given(setting: Setting) -> Iterator[str]:
    yield f"# n = {setting.n}, m = {setting.m}, tau = {setting.tau:g}"
    yield ""
    yield (
        f"u = Ax / ln n is uniform on [{LOW:g}, {HIGH:g}] in D0; in D1 one of its {setting.n} places holds "
        f"{SPIKE:g}. A network fires when <f, y> exceeds tau for one of {setting.m} random columns y, which "
        f"are {setting.weights}."
    )


def _chances(setting: Setting) -> Iterator[str]:
    every = outcomes(setting)
    yield "\n## What happens\n"
    yield f"Success has the probability **{every[SUCCESS]:.6f}**.\n"
    yield from chances(every)


def _reasons(setting: Setting) -> Iterator[str]:
    exp, lin = spread(setting)
    lost = setting.others / (1 + setting.others)
    yield "## Why\n"
    yield (
        f"* Softmax gives the spike all but {lost:.2g} of its weight at least, so it fires on D1 just "
        f"where y is 1 there: {setting.m} columns are -1 there with 2^-m = {0.5**setting.m:.3g}.\n"
        f"* Linear attention gives the spike {SPIKE / ((LOW + HIGH) / 2 * setting.n):.2g} on average; tau is "
        f"{setting.tau:g}.\n* On D0 only noise could fire:\n"
    )
    rows = [
        [name, f"{far:.4f}", f"{setting.tau / far:.1f}", _hoeffding(setting, far)]
        for name, far in (("softmax", exp), ("linear", lin))
    ]
    yield markdown(["network", "standard deviation", "tau in those", "Hoeffding and union bound"], rows)


def _hoeffding(setting: Setting, far: float) -> str:
    return f"{min(1.0, setting.m * math.exp(-((setting.tau / far) ** 2) / 2)):.3g}"
