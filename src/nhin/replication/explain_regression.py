"""One experiment of softmax regression in words: what is spread how far, what fires and how often."""

import math
from collections.abc import Iterator

import numpy as np

from nhin.errors import UsageError
from nhin.replication.explain import chances
from nhin.replication.nets import SUCCESS
from nhin.replication.regression.exact import outcomes
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


def spread(setting: Setting) -> tuple[float, float]:
    """Return how far inner products on D0 are spread around 0, for softmax and for linear attention.

    The root of the expected squared length of f, its sum being what is expected.
    """
    nodes, shares = np.polynomial.legendre.leggauss(64)
    u = LOW + (HIGH - LOW) * (nodes + 1) / 2
    far = []
    for weights in (np.exp((u - HIGH) * setting.log_n), u):
        mean, square = (weights * shares).sum() / 2, (weights**2 * shares).sum() / 2
        far.append(math.sqrt(square / setting.n) / mean)
    return far[0], far[1]


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
    others = (setting.n - 1) * setting.n ** (HIGH - SPIKE)
    yield "## Why\n"
    yield (
        f"* Softmax gives the spike all but {others / (1 + others):.2g} of its weight at least, so it fires "
        f"on D1 just where y is 1 there: {setting.m} columns are -1 there with 2^-m = {0.5**setting.m:.3g}.\n"
        f"* Linear attention gives the spike about {SPIKE / (LOW + HIGH) * 2 / setting.n:.2g}, far less than "
        "tau.\n* On D0 only noise could fire:\n"
    )
    rows = [
        [name, f"{far:.4f}", f"{setting.tau / far:.1f}", _hoeffding(setting, far)]
        for name, far in (("softmax", exp), ("linear", lin))
    ]
    yield markdown(["network", "standard deviation", "tau in those", "Hoeffding and union bound"], rows)


def _hoeffding(setting: Setting, far: float) -> str:
    return f"{min(1.0, setting.m * math.exp(-((setting.tau / far) ** 2) / 2)):.3g}"
