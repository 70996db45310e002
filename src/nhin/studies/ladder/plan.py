"""The plan of a ladder: steps are timed, and how many the budget allows is worked out once and saved."""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

from nhin.errors import UsageError
from nhin.format import format_duration
from nhin.lm.evaluate import evaluate
from nhin.lm.loading import LMRun
from nhin.lm.ngram import count_ngrams
from nhin.lm.task import LanguageModelTask
from nhin.ranges import Length, Range
from nhin.studies.files import load_dataclass, save_dataclass
from nhin.studies.ladder.settings import LadderData, LadderModel, LadderSettings, Prefix
from nhin.training.distributed import ProcessGroup
from nhin.training.lr_schedule import LRSchedule
from nhin.training.trainer import Trainer

MIN_STEPS, SEARCH_SHARE, TRIED_RATES = 30, 3, 3
_NAME = "plan.json"
_TIMING, _RESERVE = 0.04, 0.05
_EXPECTED_EXTRA = 1  # rates beyond the planned grid, as the budget counts them
_SECONDS_A_RUN = 0.12  # CPU-seconds to build a model and save it
_WARMUP, _MIN_ROUNDS, _MAX_ROUNDS = 2, 5, 100
_EVAL_TOKENS, _NGRAM_TOKENS = 2**12, 2**16
_SORT_GROWTH = 1.5  # sorting more takes longer than in proportion


@dataclass(frozen=True, slots=True)
class TimedModel:
    """The CPU-seconds of a model's steps, one per round."""

    rung: str
    seconds: Annotated[tuple[Annotated[float, Range(above=0, maximum=1e12)], ...], Length(1)]

    @property
    def step(self) -> float:
        """CPU-seconds of a step: the median."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """What a ladder needs to be resumed."""

    settings: LadderSettings
    text: str  # SHA-256 of the text
    tokenizer: str  # fingerprint of the tokenizer
    steps: Annotated[int, Range(1, 10**12)]  # of every full run
    spent: Annotated[float, Range(0, 1e12)]  # CPU-seconds of making the plan
    times: tuple[TimedModel, ...]

    @property
    def search_steps(self) -> int:
        """Steps of a run that tries a learning rate: a third."""
        return max(1, self.steps // SEARCH_SHARE)


@dataclass(frozen=True, slots=True)
class ModelCost:
    """CPU-seconds of a model: one step, one evaluation, and one evaluation in a search."""

    step: float
    evaluation: float
    search_evaluation: float


def count_tries(settings: LadderSettings) -> int:
    """Count the planned runs of a search; a single rate needs none."""
    return 0 if len(settings.rates) == 1 else len(settings.rates) or TRIED_RATES


def load_plan(out: Path) -> LadderPlan | None:
    """Return the plan of the ladder in a folder, or None."""
    return load_dataclass(LadderPlan, out / _NAME)


def make_plan(settings: LadderSettings, data: LadderData, models: Sequence[LadderModel]) -> LadderPlan:
    """Return the plan of the folder, which must have these settings, or make a new one and save it."""
    plan = load_plan(data.out)
    if plan is not None:
        _check_same(plan, settings, data)
        if [one.rung for one in plan.times] != [model.name for model in models]:
            raise UsageError(f"{data.out} was begun with other models; name another folder")
        return plan
    begin = time.process_time()
    times = _time_steps(models, data, _TIMING * settings.budget)
    if settings.steps is None:
        costs = []
        for model, timed in zip(models, times, strict=True):
            per_token = _time_evaluation(model, data)
            splits = (per_token * len(split) for split in (data.eval_split, data.search_split))
            costs.append(ModelCost(timed.step, *splits))
        ngrams = _time_ngrams(settings.orders, data) + _SECONDS_A_RUN * len(settings.orders)
        spent = time.process_time() - begin
        steps = affordable_steps(settings, costs, ngrams + spent)
    else:
        steps, spent = settings.steps, time.process_time() - begin
    manifest = data.corpus.manifest
    plan = LadderPlan(settings, manifest.source.sha256, manifest.tokenizer, steps, spent, tuple(times))
    save_dataclass(data.out / _NAME, plan)
    return plan


def affordable_steps(settings: LadderSettings, costs: Sequence[ModelCost], fixed_seconds: float) -> int:
    """Return how many steps a full run may have, besides CPU-seconds of everything but networks."""
    tries = count_tries(settings)
    tries += _EXPECTED_EXTRA if tries else 0
    runs = len(costs) * (settings.seeds + tries)
    evaluation = sum(settings.seeds * cost.evaluation + tries * cost.search_evaluation for cost in costs)
    fixed = fixed_seconds + evaluation + runs * _SECONDS_A_RUN
    per_step = sum(cost.step for cost in costs) * (settings.seeds + tries / SEARCH_SHARE)
    steps = int((settings.budget * (1 - _RESERVE) - fixed) / per_step)
    if steps < MIN_STEPS:
        needed = math.ceil((fixed + MIN_STEPS * per_step) / (1 - _RESERVE))
        needed += -needed % 60 if needed >= 3600 else 0  # in whole minutes, as it is written
        raise UsageError(
            f"a budget of {format_duration(settings.budget)} is too small for {runs} runs: with {MIN_STEPS} "
            f"steps each they need about {format_duration(needed)}; give more, or fewer seeds or depths, or "
            "a smaller dim"
        )
    return steps


def _check_same(plan: LadderPlan, settings: LadderSettings, data: LadderData) -> None:
    for field in fields(LadderSettings):
        before, now = getattr(plan.settings, field.name), getattr(settings, field.name)
        if before != now:
            raise UsageError(
                f"{data.out} was begun with {field.name} {_show(before)}, not {_show(now)}; "
                "go on with the same, or name another folder"
            )
    manifest = data.corpus.manifest
    if (plan.text, plan.tokenizer) != (manifest.source.sha256, manifest.tokenizer):
        raise UsageError(f"{data.out} was begun on another text; name another folder")


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" for one in value) or "none"
    return "none" if value is None else str(value)


def _time_steps(models: Sequence[LadderModel], data: LadderData, max_seconds: float) -> list[TimedModel]:
    """Time steps of all models in turn, on networks that are thrown away; end after about ``max_seconds``."""
    begin = time.process_time()
    with ExitStack() as stack:
        runs = [stack.enter_context(_start_steps(model, data)) for model in models]
        rounds: list[list[float]] = []
        while len(rounds) < _WARMUP + _MAX_ROUNDS:
            if len(rounds) >= _WARMUP + _MIN_ROUNDS and time.process_time() - begin > max_seconds:
                break
            # Forward and backward in turn, so that no model always follows the same other one.
            order = range(len(runs)) if len(rounds) % 2 else reversed(range(len(runs)))
            seconds = [0.0] * len(runs)
            for number in order:
                start = time.process_time()
                next(runs[number])
                seconds[number] = time.process_time() - start
            rounds.append(seconds)
    columns = zip(*rounds[_WARMUP:], strict=True)
    return [TimedModel(model.name, tuple(column)) for model, column in zip(models, columns, strict=True)]


@contextmanager
def _start_steps(model: LadderModel, data: LadderData) -> Iterator[Iterator[object]]:
    recipe = replace(model.recipe, seed=0, schedule=LRSchedule(model.rate, _MAX_ROUNDS, 0))
    trainer = Trainer(LanguageModelTask(recipe, data.corpus))
    with trainer.task.open_batches(trainer.start(), ProcessGroup()) as batches:
        yield map(trainer.step, batches)


def _time_evaluation(model: LadderModel, data: LadderData) -> float:
    """Estimate the CPU-seconds per token of evaluating a model."""
    network = LanguageModelTask(model.recipe, data.corpus).init_state(ProcessGroup()).model.eval()
    run = LMRun(network, data.corpus.tokenizer, model.recipe, 0)
    tokens = Prefix(data.eval_split, _EVAL_TOKENS)
    evaluate(run, tokens)  # the first time costs more than any other
    begin = time.process_time()
    evaluate(run, tokens)
    return (time.process_time() - begin) / len(tokens)


def _time_ngrams(orders: Sequence[int], data: LadderData) -> float:
    """Estimate the CPU-seconds of the n-grams of some orders from a part of the text."""
    train = data.corpus.split("train")
    tokens = min(len(train), _NGRAM_TOKENS)
    begin = time.process_time()
    count_ngrams(train.read(0, tokens), data.corpus.tokenizer.vocab, max(orders))
    per_token = (time.process_time() - begin) / max(orders) / tokens
    return _SORT_GROWTH * per_token * sum(orders) * (len(train) + len(data.eval_split))
