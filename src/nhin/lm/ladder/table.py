"""What came of a climb, as figures: a row for every rung, lines over depth, verdicts."""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nhin.lm.activation_memory import count_activation_bytes, fits_memory
from nhin.lm.ladder.ground import Ground
from nhin.lm.ladder.jobs import chosen, counted, searches, trained
from nhin.lm.ladder.plan import Plan
from nhin.lm.ladder.rows import Row, lines
from nhin.lm.ladder.rungs import STACKS, Rung
from nhin.lm.ladder.runs import Result
from nhin.lm.ladder.verdicts import Verdict, verdicts
from nhin.metrics.statistics import LinearFit
from nhin.models.build import build_lm


@dataclass(frozen=True, slots=True)
class Ladder:
    """All that is told of a climb.

    Args:
        about: The text, the sizes, the budget and the machine.
        rows: N-grams first, then networks, from below.
        lines: By recipe, how time of a step and memory of a text grow with depth.
        verdicts: What holds of what the sources say.
        searches: By rung, the nats of every rate that was tried.
    """

    about: Mapping[str, Any]
    rows: tuple[Row, ...]
    lines: Mapping[str, Mapping[str, LinearFit]]
    verdicts: tuple[Verdict, ...]
    searches: Mapping[str, Mapping[str, float | None]]

    def as_tree(self) -> dict[str, Any]:
        """Return everything as plain nested values, fit for JSON."""
        return {
            "about": dict(self.about),
            "rows": [row.as_tree() for row in self.rows],
            "lines": {name: {k: asdict(v) for k, v in both.items()} for name, both in self.lines.items()},
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "searches": {name: dict(tried) for name, tried in self.searches.items()},
        }


def ladder(plan: Plan, rungs: Sequence[Rung], stands: Ground, done: Mapping[str, Result]) -> Ladder:
    """Put the results of all runs together."""
    times = {one.rung: one.step for one in plan.times}
    rows = [_grams(order, done[counted(order)]) for order in plan.settings.orders]
    for rung in rungs:
        rate, edge = chosen(plan, rung, done)
        results = [done[trained(rung, seed)] for seed in range(plan.settings.seeds)]
        rows.append(_row(rung, results, times[rung.name], _memory(rung, stands), (rate, edge)))
    stacks = {family: [row for row in rows if row.family == family] for family in STACKS}
    over_depth = {family: lines(some) for family, some in stacks.items() if len(some) > 1}
    tried = {
        rung.name: {f"{job.rate:g}": done[job.name].nats for job in searches(plan, rung, done)}
        for rung in rungs
    }
    tokens = max((result.tokens for name, result in done.items() if "search" not in name), default=0)
    about = _about(plan, stands) | {"measured_tokens": tokens}
    about["spent"] = round(plan.spent + sum(result.spent for result in done.values()), 1)
    return Ladder(about, tuple(rows), over_depth, tuple(verdicts(rows, over_depth)), tried)


def _grams(order: int, result: Result) -> Row:
    return Row(
        rung=counted(order),
        family="lm-ngram",
        depth=order,
        parameters=result.parameters,
        nats=(result.nats,),
        bits_per_byte=result.bits_per_byte,
        cpu_seconds=result.cpu_seconds,
    )


def _row(
    rung: Rung, results: Sequence[Result], seconds: float, memory: int | None, rate: tuple[float, bool]
) -> Row:
    bits = [result.bits_per_byte for result in results if result.bits_per_byte is not None]
    return Row(
        rung=rung.name,
        family=rung.family,
        depth=rung.depth,
        parameters=results[0].parameters,
        nats=tuple(result.nats for result in results),
        bits_per_byte=math.fsum(bits) / len(bits) if len(bits) == len(results) else None,
        cpu_seconds=math.fsum(result.cpu_seconds for result in results) / len(results),
        ms=1000 * seconds,
        memory=memory,
        rate=rate[0],
        edge=rate[1],
    )


def _memory(rung: Rung, stands: Ground) -> int | None:
    """Measure the bytes that one text of a batch leaves for the gradient, at this depth itself."""
    vocab, design = stands.corpus.tokenizer.vocab, rung.recipe.model
    if not fits_memory(vocab, design, design.context):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return count_activation_bytes(
            build_lm(vocab, design).train(), torch.randint(vocab, (1, design.context))
        )


def _titled(source: str) -> str:
    """Return what a text is called: not where it lies on one machine."""
    return source if source.startswith("hf:") else Path(source).name


def _about(plan: Plan, stands: Ground) -> dict[str, Any]:
    """Say on what all was measured."""
    settings, corpus = plan.settings, stands.corpus
    sizes = {
        name: getattr(settings, name) for name in ("dim", "heads", "context", "batch", "seeds", "threads")
    }
    return {
        "text": _titled(corpus.manifest.source.name),
        "tokenizer": corpus.tokenizer.name,
        "vocab": corpus.tokenizer.vocab,
        "trained_on": len(corpus.split("train")),
        "split": stands.split,
        **sizes,
        "steps": plan.steps,
        "tokens": plan.steps * settings.batch * settings.context,
        "rounds": len(plan.times[0].seconds),
        "budget": settings.budget,
        "machine": f"{platform.machine()}, torch {torch.__version__}, float32",
    }
