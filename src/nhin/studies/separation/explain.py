"""Explain one experiment in words: how often each outcome occurs, and why."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nhin.errors import UnknownName, UsageError
from nhin.format import markdown_table
from nhin.studies.separation import attention_exact, regression_exact
from nhin.studies.separation.config import HIGH, LOW, SPIKE, AttentionConfig, RegressionConfig, columns_for
from nhin.studies.separation.options import INNER_TITLES, KINDS, RECONSTRUCTION, Variant
from nhin.studies.separation.outcomes import CODES, GUARD, NET_TITLES, NETS, SUCCESS, firing_rates
from nhin.studies.separation.row_products import RowTerms, row_terms
from nhin.studies.separation.sweeps import INNERS, Family, default_config

_MIN_PROBABILITY = 5e-4
_KERNELS = {"exp": "softmax", "lin": "linear"}
_INTEGERS = ("n", "d", "m")
_SETTINGS = (*_INTEGERS, "a0", "a1", "b", "c", "margin", "X")


def explain_experiment(family: Family, settings: Mapping[str, str], variant: Variant) -> str:
    """Return a page about one experiment; settings that are missing are the paper's.

    Raises:
        UnknownName: There is no such setting.
        UsageError: A value is not a number or out of range, or tau is so near 1 that no exact method holds.
    """
    if family == "regression":
        numbers = _parse_numbers(settings, ("n", "m", "tau"))
        n = int(numbers.get("n", 1000))
        m = int(numbers.get("m", 0)) or columns_for(n, variant.rounding)
        tau = float(numbers.get("tau", variant.tau))
        sections = _explain_regression(RegressionConfig(n, m, tau, variant.weights))
    else:
        inner = settings.get("X", "eye")
        if inner not in INNERS:
            raise UnknownName("X", inner, INNERS)
        numbers = {"margin": variant.margin} | _parse_numbers(
            {name: value for name, value in settings.items() if name != "X"}, _SETTINGS
        )
        config = default_config(int(numbers.pop("n", 200)), int(numbers.pop("d", 22)))
        if variant.tied and "b" not in numbers:
            numbers["b"] = round(1 - numbers.get("c", config.c), 12)
        kind = "self" if family == "self" else variant.cross
        config = replace(config, kind=kind, inner=inner, weights=variant.weights, **numbers)
        sections = _explain_attention(config)
    return "\n".join(sections) + "\n"


def _parse_numbers(settings: Mapping[str, str], known: tuple[str, ...]) -> dict[str, int | float]:
    numbers: dict[str, int | float] = {}
    for name, value in settings.items():
        if name not in known:
            raise UnknownName("setting", name, known)
        try:
            numbers[name] = int(value) if name in _INTEGERS else float(value)
        except ValueError:
            kind = "a whole number" if name in _INTEGERS else "a number"
            raise UsageError(f"{name} is {value!r}; give {kind}") from None
    return numbers


def firing_sum(config: AttentionConfig, terms: RowTerms) -> int | None:
    """Return the least sum T of class signs at which a row fires; None where no sum does.

    The signs of the row's own class, of the spike key's class, y_1 and y_d are taken to be positive.
    """
    base = terms.alpha + terms.gamma + terms.delta + config.c
    k = config.classes
    for total in range(-k, k + 1, 2):
        if base + terms.beta * total > config.threshold + GUARD:
            return total
    return None


def _explain_attention(config: AttentionConfig) -> Iterator[str]:
    yield f"# n = {config.n}, d = {config.d}, X = {INNER_TITLES[config.inner]}\n"
    yield (
        f"{config.classes} classes of {config.copies} rows each, m = {config.m} random columns, spikes "
        f"a0 = {config.a0:g} and a1 = {config.a1:g}, b = {config.b:g}, c = {config.c:g}; {config.kind}: "
        f"{KINDS[config.kind]}; y is {config.weights}."
    )
    if config.kind != "self":
        yield f"\nNote: {RECONSTRUCTION}."
    yield (
        f"\nA network fires when some row's inner product with some column exceeds c + {config.margin:g} = "
        f"{config.threshold:g}, in units of sqrt(ln n) = {math.sqrt(config.log_n):.4g}."
    )
    yield "\n## The rows there are\n"
    yield (
        "A row's inner product with a column y is `alpha y_1 + beta T + gamma s_own + delta s_key + c y_d`; "
        f"T is the sum of the {config.classes} class signs, s_own the sign of the row's class, s_key that of "
        "the spike key's.\n"
    )
    header = ("network", "row", "alpha", "beta", "gamma", "delta", "fires from T =")
    yield markdown_table(header, _row_cells(config)).rstrip()
    yield "\n## What happens\n"
    yield from _explain_chances(config)
    yield "## Why\n"
    yield from (f"* {reason}" for reason in _find_reasons(config))


def _row_cells(config: AttentionConfig) -> Iterator[list[str]]:
    """Yield the coefficients of every kind of row, and from which sum it fires."""
    for dataset, a in zip(("D1", "D0"), config.spikes, strict=True):
        spike = config.query_spike(a)
        plain = 0.0 if config.has_spike_row else spike
        kinds = [
            ("of another class than the spike's", plain, False),
            ("of the spike key's class", plain, True),
        ]
        if config.has_spike_row:
            kinds.append(("with the spike", spike, True))
            if config.kind != "self":
                kinds.append(("with the spike, of another class", spike, False))
        for kernel, title in _KERNELS.items():
            for name, query, own_is_key in kinds:
                terms = row_terms(config, kernel, a, query, own_is_key)
                total = firing_sum(config, terms)
                numbers = [f"{x:.5f}" for x in (terms.alpha, terms.beta, terms.gamma, terms.delta)]
                yield [f"{title} on {dataset}", name, *numbers, "never" if total is None else str(total)]


def _explain_chances(config: AttentionConfig) -> Iterator[str]:
    outcomes = attention_exact.exact_outcomes(config)
    if config.weights == "shared":
        pattern = max(attention_exact.spike_patterns(config), key=lambda pattern: pattern.chance)
        q, r = pattern.silent[CODES - 1 - SUCCESS], pattern.silent[CODES - 1]
        chance = attention_exact.conditional_outcomes(config, pattern)[SUCCESS]
        yield (
            f"One column leaves softmax on D0 and linear on both silent with q = {q:.6f}, and softmax on D1 "
            f"too with r = {r:.6f}; so {config.m} columns succeed with q^m - r^m = "
            f"{chance:.6f} (for the likeliest way in which spikes share classes, whose chance is "
            f"{pattern.chance:.3f})."
        )
    yield f"Over all positions of the spikes success has the probability **{outcomes[SUCCESS]:.6f}**.\n"
    yield from _outcome_tables(outcomes)


def _outcome_tables(outcomes: NDArray[np.float64]) -> Iterator[str]:
    """Yield how often each condition holds, and what happens instead of success, most often first."""
    conditions = []
    for net, rate in zip(NETS, firing_rates(outcomes), strict=True):
        silent = net != "exp1"
        title = NET_TITLES[net].replace("fires", "is silent") if silent else NET_TITLES[net]
        conditions.append([title, f"{1 - rate if silent else rate:.6f}"])
    yield markdown_table(["condition", "holds with"], conditions)
    yield "What happens instead of success, most often first:\n"
    rows = []
    for code in sorted(range(CODES), key=lambda code: -outcomes[code]):
        if code != SUCCESS and outcomes[code] >= _MIN_PROBABILITY:
            fires = [NET_TITLES[net] for bit, net in enumerate(NETS) if code >> bit & 1]
            rows.append([f"{outcomes[code]:.6f}", "; ".join(fires) or "nothing fires"])
    yield markdown_table(["probability", "what fires"], rows)


def _find_reasons(config: AttentionConfig) -> Sequence[str]:
    """Return what decides the outcome, in sentences, the most frequent first."""
    exp1, lin1, exp0, lin0 = map(float, firing_rates(attention_exact.exact_outcomes(config)))
    softmax = (
        f"Softmax fires on D1 with {exp1:.4f}; with a large spike one column with y_1 = y_d = 1 is "
        f"enough, which {config.m} columns have with 1 - (3/4)^m = {1 - 0.75**config.m:.4f}."
    )
    # Of equals the noise comes first, which is the same for both networks.
    reasons = [
        (exp0, _explain_noise(config, exp0, lin0)),
        (lin1 - 1e-9, _explain_linear(config, lin1, lin0)),
        (1 - exp1, softmax),
    ]
    return [sentence for _, sentence in sorted(reasons, key=lambda pair: -pair[0])]


def _explain_noise(config: AttentionConfig, exp0: float, lin0: float) -> str:
    k, total = config.classes, firing_sum(config, row_terms(config, "exp", config.a0, 0.0, False))
    text = f"Softmax fires on D0 with {exp0:.4f} and linear with {lin0:.4f}"
    if total is None:
        return f"{text}: no sum of the K = {k} class signs is more than the margin of {config.margin:g}."
    tail = sum(math.comb(k, (k + t) // 2) for t in range(total, k + 1, 2)) / 2**k
    return (
        f"{text}: with K = {k} classes their signs sum to {total} or more in {tail:.3g} of all columns, "
        f"which is more than the margin of {config.margin:g} (where y_d = y_1 = 1). A larger d or a smaller "
        "b makes that rare."
    )


def _explain_linear(config: AttentionConfig, lin1: float, lin0: float) -> str:
    query = config.query_spike(config.a1) if config.has_spike_row else 0.0
    alpha = row_terms(config, "lin", config.a1, query, True).alpha
    extra = lin1 - lin0
    how = "which alone is more than" if alpha > config.margin else "which needs noise to exceed"
    return (
        f"Linear fires on D1 with {lin1:.4f}, {abs(extra):.4f} {'more' if extra >= 0 else 'less'} "
        f"often than on D0: the spike adds alpha = {alpha:.4f}, {how} the margin "
        f"of {config.margin:g}. Where it fires on D1, success fails because linear attention succeeds."
    )


def _explain_regression(config: RegressionConfig) -> Iterator[str]:
    if not config.spike_decides:
        raise UsageError(
            f"tau is {config.tau:g}: so near 1 the exact chances are not known; give less, or run "
            "nhin replicate regression --tau"
        )
    outcomes = regression_exact.exact_outcomes(config)
    yield f"# n = {config.n}, m = {config.m}, tau = {config.tau:g}\n"
    yield (
        f"u = Ax / ln n is uniform on [{LOW:g}, {HIGH:g}] in D0; in D1 one of its {config.n} entries is "
        f"{SPIKE:g}. A network fires when <f, y> exceeds tau for one of {config.m} random columns y, which "
        f"are {config.weights}."
    )
    yield "\n## What happens\n"
    yield f"Success has the probability **{outcomes[SUCCESS]:.6f}**.\n"
    yield from _outcome_tables(outcomes)
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
    deviations = regression_exact.product_deviations(config)
    for name, deviation in zip(("softmax", "linear"), deviations, strict=True):
        bound = min(1.0, config.m * math.exp(-((config.tau / deviation) ** 2) / 2))
        rows.append([name, f"{deviation:.4f}", f"{config.tau / deviation:.1f}", f"{bound:.3g}"])
    yield markdown_table(header, rows)
