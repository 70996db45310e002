"""Choose a mechanism by measured cost, and give the reason and the rows it rests on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

from nhin.attention.registry import MECHANISMS
from nhin.bench.cells import BenchRow
from nhin.bench.growth import group_curves
from nhin.bench.results import BenchResults, Machine
from nhin.errors import UsageError
from nhin.format import format_bytes
from nhin.recommend.estimate import CostEstimate, choose_rows, estimate_cost
from nhin.recommend.question import SIMPLICITY, AttentionQuestion, list_candidates
from nhin.recommend.rules import apply_rules

RUNNERS_UP = 3
_ORDER = {name: place for place, name in enumerate(SIMPLICITY)}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer to a question.

    Args:
        mechanism: Its name.
        settings: Its settings, as measured.
        estimate: What it costs.
        runners_up: The next ones, the fastest first.
        reason: Why, in one sentence.
        rules: What the source report says of the situation.
        machine: Where the rows were measured.
        is_here: Whether that is this machine.
    """

    mechanism: str
    settings: dict[str, Any]
    estimate: CostEstimate
    runners_up: tuple[CostEstimate, ...]
    reason: str
    rules: list[dict[str, str]]
    machine: Machine
    is_here: bool


def recommend(question: AttentionQuestion, results: BenchResults, is_here: bool) -> Recommendation:
    """Answer a question from the rows of one machine.

    Raises:
        UsageError: No row is about such a question, nothing fits into the memory, or the user's own choice
            cannot do it.
    """
    costs = estimate_costs(question, results.rows)
    fitting = [cost for cost in costs if question.memory is None or cost.peak_bytes <= question.memory]
    if not fitting and question.mechanism is None:
        least = min(costs, key=lambda cost: cost.peak_bytes)
        raise UsageError(
            f"nothing fits into {format_bytes(question.memory or 0)}: the least at {question.length} "
            f"positions is {format_bytes(least.peak_bytes)}, with {least.mechanism}"
        )
    ranked = sorted(fitting, key=_cost)
    if question.mechanism is not None:
        answer = next((cost for cost in costs if cost.mechanism == question.mechanism), None)
        if answer is None:
            raise UsageError(f"{question.mechanism} has not been measured for this: give --measure")
        reason = _explain_own_choice(question, answer, ranked)
    else:
        tied = [cost for cost in ranked if cost.is_tied(ranked[0])]
        answer = min(tied, key=lambda cost: _ORDER[cost.mechanism])
        reason = _explain_choice(question, answer, ranked, tied, len(costs))
    others = [cost for cost in ranked if cost is not answer][:RUNNERS_UP]
    return Recommendation(
        answer.mechanism, default_settings(answer.mechanism), answer, tuple(others), reason,
        apply_rules(question, answer.mechanism), results.machine, is_here,
    )  # fmt: skip


def estimate_costs(question: AttentionQuestion, rows: Sequence[BenchRow]) -> list[CostEstimate]:
    """Estimate every candidate that was measured.

    Raises:
        UsageError: None was.
    """
    names = list_candidates(question)
    if question.mechanism is not None and question.mechanism not in names:
        names.append(question.mechanism)
    known = [row for row in rows if is_about(question, row) and row.seconds and row.cell.mechanism in names]
    if not known:
        raise UsageError(
            f"nothing of quality {question.quality} has been measured for {question.phase} in "
            f"{question.dtype} on {question.device}: give --measure, or run nhin bench attention"
        )
    # Where layers of several sizes were measured, that of the most rows answers.
    size = Counter(map(_layer_size, known)).most_common(1)[0][0]
    curves = group_curves(row for row in known if _layer_size(row) == size).values()
    chosen = [choose_rows(curve, question.length) for curve in curves]
    has_ratios = all(row.ratio for rows, _ in chosen for row in rows)
    return [estimate_cost(*one, question.length, has_ratios) for one in chosen]


def _layer_size(row: BenchRow) -> tuple[int, int, int]:
    return row.cell.heads, row.cell.head_dim, row.cell.batch


def is_about(question: AttentionQuestion, row: BenchRow) -> bool:
    """Return whether a row was measured in the situation of a question, whatever its length."""
    cell = row.cell
    here = (question.phase, question.dtype, question.device)
    return (cell.phase, cell.dtype, cell.device) == here and cell.causal and cell.heads == cell.kv_heads


def default_settings(name: str) -> dict[str, Any]:
    """Return the settings that a mechanism has when nothing is said, besides its sizes."""
    parameters = signature(MECHANISMS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.default not in (Parameter.empty, None)}


def _cost(cost: CostEstimate) -> float:
    return cost.seconds if cost.ratio is None else cost.ratio


def _explain_choice(
    question: AttentionQuestion,
    answer: CostEstimate,
    ranked: Sequence[CostEstimate],
    tied: Sequence[CostEstimate],
    measured: int,
) -> str:
    limit = "" if question.memory is None else f" that fit into {format_bytes(question.memory)}"
    reason = f"the fastest of {len(ranked)} mechanisms of quality {question.quality}{limit}"
    if len(ranked) < measured:
        reason += f" ({measured - len(ranked)} do not fit)"
    equals = [cost.mechanism for cost in tied if cost is not answer]
    if equals:
        reason += f"; as fast within the error of measurement, and less simple: {', '.join(equals)}"
    return reason


def _explain_own_choice(
    question: AttentionQuestion, answer: CostEstimate, ranked: Sequence[CostEstimate]
) -> str:
    reason = "your own choice"
    if question.memory is not None and answer.peak_bytes > question.memory:
        reason += f", though it needs {format_bytes(answer.peak_bytes)}"
    if ranked and ranked[0] is not answer:
        reason += f"; {ranked[0].mechanism} would take {_cost(ranked[0]) / _cost(answer):.2f} times its time"
    return reason
