"""One experiment with attention in words: what each row says, what fires, how often, and why."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nhin.replication.attention.exact import given, outcomes, patterns
from nhin.replication.attention.rows import Row, row
from nhin.replication.attention.setting import Setting
from nhin.replication.choices import KINDS, RECONSTRUCTION
from nhin.replication.nets import CODES, GUARD, NETS, SUCCESS, WORDS, fired
from nhin.replication.table import markdown

_LEAST = 5e-4
_NAMES = {"exp": "softmax", "lin": "linear"}
_INNER = {"eye": "vec(I)", "ones": "1"}


def explain(setting: Setting) -> str:
    """Return a page about one experiment."""
    return "\n".join([*_given(setting), *_rows(setting), *_chances(setting), *_reasons(setting)]) + "\n"


def fires(setting: Setting, said: Row) -> int | None:
    """Return the least sum T of class signs at which a row fires; None where no sum does.

    The row's own class and the spike key's are taken to be positive, and y_1 and y_d are.
    """
    base = said.alpha + said.gamma + said.delta + setting.c
    k = setting.classes
    for total in range(-k, k + 1, 2):
        if base + said.beta * total > setting.threshold + GUARD:
            return total
    return None


def _given(setting: Setting) -> Iterator[str]:
    kind = f"{setting.kind}: {KINDS[setting.kind]}"
    yield f"# n = {setting.n}, d = {setting.d}, X = {_INNER[setting.inner]}"
    yield ""
    yield (
        f"{setting.classes} classes of {setting.copies} rows each, m = {setting.m} random columns, spikes "
        f"a0 = {setting.a0:g} and a1 = {setting.a1:g}, b = {setting.b:g}, c = {setting.c:g}; {kind}; y is "
        f"{setting.weights}."
    )
    if setting.kind != "self":
        yield f"\nNote: {RECONSTRUCTION}."
    yield ""
    yield (
        f"A network fires when some row's inner product with some column exceeds c + {setting.margin:g} = "
        f"{setting.threshold:g}, in units of sqrt(ln n) = {math.sqrt(setting.log_n):.4g}."
    )


def _rows(setting: Setting) -> Iterator[str]:
    yield "\n## The rows there are\n"
    yield (
        "Each says `alpha y_1 + beta T + gamma s_own + delta s_key + c y_d` to a column y; T is the sum of "
        f"the {setting.classes} class signs, s_own the sign of the row's class, s_key that of the spike "
        "key's.\n"
    )
    header = ["network", "row", "alpha", "beta", "gamma", "delta", "fires from T ="]
    yield markdown(header, (_told(setting, *which) for which in _kinds(setting))).rstrip()


def _kinds(setting: Setting) -> Iterator[tuple[tuple[str, str], str, float, float, bool]]:
    """Yield kernel and data set, name, spikes of key and query, and whether the class is the key's."""
    for dataset, a in zip(("D1", "D0"), setting.spikes, strict=True):
        usual = 0.0 if setting.lone else setting.query_spike(a)
        for kernel in _NAMES:
            about = kernel, dataset
            yield about, "of another class than the spike's", a, usual, False
            yield about, "of the spike key's class", a, usual, True
            if setting.lone:
                yield about, "with the spike", a, setting.query_spike(a), True
            if setting.lone and setting.kind != "self":
                yield about, "with the spike, of another class", a, setting.query_spike(a), False


def _told(
    setting: Setting, about: tuple[str, str], name: str, a: float, query: float, own: bool
) -> list[str]:
    kernel, dataset = about
    said = row(setting, kernel, a, query, own)
    total = fires(setting, said)
    numbers = [f"{x:.5f}" for x in (said.alpha, said.beta, said.gamma, said.delta)]
    return [f"{_NAMES[kernel]} on {dataset}", name, *numbers, "never" if total is None else str(total)]


def _chances(setting: Setting) -> Iterator[str]:
    every = outcomes(setting)
    yield "\n## What happens\n"
    if setting.weights == "shared":
        likeliest = max(patterns(setting), key=lambda pattern: pattern.chance)
        silent = likeliest.silent
        q, r = silent[CODES - 1 - SUCCESS], silent[CODES - 1]
        yield (
            f"One column leaves softmax on D0 and linear on both silent with q = {q:.6f}, and softmax on D1 "
            f"too with r = {r:.6f}; so {setting.m} columns succeed with q^m - r^m = "
            f"{given(setting, likeliest)[SUCCESS]:.6f} (for the likeliest way in which spikes share "
            f"classes, whose chance is {likeliest.chance:.3f})."
        )
    yield f"Over all places of the spikes success has the probability **{every[SUCCESS]:.6f}**.\n"
    yield from chances(every)


def chances(every: NDArray[np.float64]) -> Iterator[str]:
    """Yield how often each condition holds, and what happens instead of success, most often first.

    Args:
        every: (16,): how likely exactly each set of networks fires.
    """
    rates = fired(every)
    yield markdown(
        ["condition", "holds with"],
        (
            [WORDS[net] if net == "exp1" else WORDS[net].replace("fires", "is silent"), f"{held:.6f}"]
            for net, rate in zip(NETS, rates, strict=True)
            for held in (rate if net == "exp1" else 1 - rate,)
        ),
    )
    yield "What happens instead of success, most often first:\n"
    order = sorted((code for code in range(CODES) if code != SUCCESS), key=lambda code: -every[code])
    shown = [code for code in order if every[code] >= _LEAST]
    yield markdown(["probability", "what fires"], ([f"{every[code]:.6f}", _said(code)] for code in shown))


def _said(code: int) -> str:
    return "; ".join(WORDS[net] for bit, net in enumerate(NETS) if code >> bit & 1) or "nothing fires"


def _reasons(setting: Setting) -> Iterator[str]:
    yield "## Why\n"
    yield from (f"* {reason}" for reason in reasons(setting))


def reasons(setting: Setting) -> Sequence[str]:
    """Return what decides the outcome, in sentences, the costliest first."""
    rates = {str(net): float(rate) for net, rate in zip(NETS, fired(outcomes(setting)), strict=True)}
    # Of equals the noise comes first, which both networks hear alike.
    found = [
        (rates["exp0"], _of_noise(setting, rates)),
        (rates["lin1"] - 1e-9, _of_linear(setting, rates)),
        (1 - rates["exp1"], _of_softmax(setting, rates)),
    ]
    return [sentence for _, sentence in sorted(found, key=lambda pair: -pair[0])]


def _of_noise(setting: Setting, rates: Mapping[str, float]) -> str:
    k, total = setting.classes, fires(setting, row(setting, "exp", setting.a0, 0.0, False))
    said = f"Softmax fires on D0 with {rates['exp0']:.4f} and linear with {rates['lin0']:.4f}"
    if total is None:
        return f"{said}: no sum of the K = {k} class signs is more than the margin of {setting.margin:g}."
    tail = sum(math.comb(k, (k + t) // 2) for t in range(total, k + 1, 2)) / 2**k
    return (
        f"{said}: with K = {k} classes their signs sum to {total} or more in {tail:.3g} of all columns, "
        f"which is more than the margin of {setting.margin:g} (where y_d = y_1 = 1). A larger d or a smaller "
        "b makes that rare."
    )


def _of_linear(setting: Setting, rates: Mapping[str, float]) -> str:
    usual = setting.query_spike(setting.a1) if setting.lone else 0.0
    alpha, extra = row(setting, "lin", setting.a1, usual, True).alpha, rates["lin1"] - rates["lin0"]
    how = "which alone is more than" if alpha > setting.margin else "which takes noise to pass"
    return (
        f"Linear fires on D1 with {rates['lin1']:.4f}, {abs(extra):.4f} {'more' if extra >= 0 else 'less'} "
        f"often than on D0: the spike adds alpha = {alpha:.4f}, {how} the margin "
        f"of {setting.margin:g}. Where it fires on D1, success fails because linear attention succeeds."
    )


def _of_softmax(setting: Setting, rates: Mapping[str, float]) -> str:
    return (
        f"Softmax fires on D1 with {rates['exp1']:.4f}; of a clear spike one column with y_1 = y_d = 1 is "
        f"enough, which {setting.m} columns have with 1 - (3/4)^m = {1 - 0.75**setting.m:.4f}."
    )
