"""The advice of the source report, as a table of its own: beside what was measured, never mixed with it.

The report names situations in words; the bounds in positions and bytes are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

from nhin.attention.registry import MECHANISMS
from nhin.recommend.question import AttentionQuestion

SHORT, LONG, VERY_LONG = 2048, 4096, 100_000
LITTLE, EDGE = 8 * 2**30, 2**30


@dataclass(frozen=True, slots=True)
class ReportRule:
    """One line of the report.

    Args:
        situation: When it applies, in its words.
        advice: What it recommends.
        applies: Whether a question is of that situation.
        accepts: Whether an answer follows the advice; None where it is not about the mechanism.
    """

    situation: str
    advice: str
    applies: Callable[[AttentionQuestion], bool]
    accepts: Callable[[str], bool] | None = None


def _is_exact(name: str) -> bool:
    return name in ("softmax", "flash")


def _is_subquadratic(name: str) -> bool:
    return MECHANISMS[name].facts.family in ("linear", "sparse")


RULES = (
    ReportRule(
        "short text, ample hardware", "multi-head softmax or Flash",
        lambda q: q.length <= SHORT and (q.memory is None or q.memory >= LITTLE), _is_exact,
    ),
    ReportRule(
        "long text, little hardware", "linear or sparse",
        lambda q: q.length >= LONG and q.memory is not None and q.memory < LITTLE, _is_subquadratic,
    ),
    ReportRule(
        "inference at the edge", "multi-query or grouped-query heads",
        lambda q: q.phase != "train" and q.memory is not None and q.memory < EDGE,
    ),
    ReportRule(
        "training large models", "Flash with rotary positions", lambda q: q.phase == "train", _is_exact,
    ),
    ReportRule(
        "over 100,000 positions", "linear attention with rotary positions", lambda q: q.length > VERY_LONG,
        lambda name: MECHANISMS[name].facts.family == "linear",
    ),
    ReportRule("texts longer than those of training", "rotary positions with NTK or YaRN", lambda q: False),
)  # fmt: skip


def apply_rules(question: AttentionQuestion, answer: str) -> list[dict[str, str]]:
    """Return each rule with what it says here: agrees, disagrees, or does not apply."""
    lines = []
    for rule in RULES:
        if not rule.applies(question):
            verdict = "does not apply"
        elif rule.accepts is None:
            verdict = "not about the mechanism: choose it besides"
        else:
            verdict = "agrees" if rule.accepts(answer) else "disagrees"
        lines.append({"situation": rule.situation, "advice": rule.advice, "here": verdict})
    return lines
