"""Collect the results of all runs of a ladder."""

import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nhin.lm.activation_memory import count_activation_bytes, fits_memory
from nhin.models.build import build_lm
from nhin.studies.ladder.claims import check_claims
from nhin.studies.ladder.dataset import LadderData
from nhin.studies.ladder.job_runner import RunResult
from nhin.studies.ladder.jobs import best_rate, iter_search, ngram_job_name, seed_job_name
from nhin.studies.ladder.models import STACKS, LadderModel
from nhin.studies.ladder.plan import LadderPlan
from nhin.studies.ladder.results import LadderResults, LadderRow, fit_lines

Done = Mapping[str, RunResult]


def collect_results(
    plan: LadderPlan, models: Sequence[LadderModel], data: LadderData, done: Done
) -> LadderResults:
    """Put the results of all runs together."""
    ngrams = [(order, ngram_job_name(order)) for order in plan.settings.orders]
    rows = [_make_row(name, "lm-ngram", order, [done[name]]) for order, name in ngrams]
    rows += [_model_row(model, plan, data, done) for model in models]
    stacks = {family: [row for row in rows if row.family == family] for family in STACKS}
    lines = {family: fit_lines(stack) for family, stack in stacks.items() if len(stack) > 1}
    searches = {
        model.name: {f"{job.rate:g}": done[job.name].nats for job in iter_search(plan, model, done)}
        for model in models
    }
    about = _describe(plan, data, done)
    return LadderResults(about, tuple(rows), lines, tuple(check_claims(rows, lines)), searches)


def _model_row(model: LadderModel, plan: LadderPlan, data: LadderData, done: Done) -> LadderRow:
    results = [done[seed_job_name(model, seed)] for seed in range(plan.settings.seeds)]
    (step,) = (timed.step for timed in plan.times if timed.rung == model.name)
    rate, edge = best_rate(plan, model, done)
    measured = {"ms": 1000 * step, "memory": _measure_memory(model, data), "rate": rate, "edge": edge}
    return _make_row(model.name, model.family, model.depth, results, **measured)


def _make_row(name: str, family: str, depth: int, results: Sequence[RunResult], **measured: Any) -> LadderRow:
    bits = [result.bits_per_byte for result in results if result.bits_per_byte is not None]
    return LadderRow(
        rung=name,
        family=family,
        depth=depth,
        parameters=results[0].parameters,
        nats=tuple(result.nats for result in results),
        bits_per_byte=math.fsum(bits) / len(bits) if len(bits) == len(results) else None,
        cpu_seconds=math.fsum(result.cpu_seconds for result in results) / len(results),
        **measured,
    )


def _measure_memory(model: LadderModel, data: LadderData) -> int | None:
    """Measure the bytes of activations that one sequence keeps for the gradient."""
    vocab, config = data.corpus.tokenizer.vocab, model.recipe.model
    if not fits_memory(vocab, config, config.context):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return count_activation_bytes(
            build_lm(vocab, config).train(), torch.randint(vocab, (1, config.context))
        )


def _describe(plan: LadderPlan, data: LadderData, done: Done) -> dict[str, Any]:
    """Describe the text, the sizes, the budget and the machine."""
    settings, corpus = plan.settings, data.corpus
    source = corpus.manifest.source.name
    sizes = ("dim", "heads", "context", "batch", "seeds", "threads")
    return {
        # Not the path, which is different on every machine.
        "text": source if source.startswith("hf:") else Path(source).name,
        "tokenizer": corpus.tokenizer.name,
        "vocab": corpus.tokenizer.vocab,
        "trained_on": len(corpus.split("train")),
        "split": data.split,
        **{name: getattr(settings, name) for name in sizes},
        "steps": plan.steps,
        "tokens": plan.steps * settings.batch * settings.context,
        "rounds": len(plan.times[0].seconds),
        "budget": settings.budget,
        "machine": f"{platform.machine()}, torch {torch.__version__}, float32",
        "measured_tokens": max((one.tokens for name, one in done.items() if "search" not in name), default=0),
        "spent": round(plan.spent + sum(result.spent for result in done.values()), 1),
    }
