"""How many steps fit the budget of a climb: found out once and kept, so that a resumed climb has the same."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nhin.errors import CheckpointError, UsageError
from nhin.lm.ladder.files import keep, kept
from nhin.lm.ladder.ground import Ground
from nhin.lm.ladder.rungs import Rung
from nhin.lm.ladder.settings import Settings
from nhin.lm.ladder.timing import Timed, counting, reading, timed
from nhin.lm.ladder.words import spoken

LEAST_STEPS, SEARCH_SHARE, TRIED = 30, 3, 3
_NAME = "plan.json"
_TIMING, _RESERVE = 0.04, 0.05
_EXPECTED_WIDER = 1  # rates that a search adds, as budgets have it
_A_RUN = 0.12  # CPU-seconds to build a model and save it


@dataclass(frozen=True, slots=True)
class Plan:
    """What a climb does, with what it needs to know to go on.

    Args:
        settings: Its settings.
        text: SHA-256 of what is read.
        tokenizer: Fingerprint of what made the tokens.
        steps: Of every full run; searches take a third.
        spent: CPU-seconds that making the plan took.
        times: Of the steps of every rung.
    """

    settings: Settings
    text: str
    tokenizer: str
    steps: int
    spent: float
    times: tuple[Timed, ...]

    @property
    def search(self) -> int:
        """Steps of a run that tries a rate."""
        return max(1, self.steps // SEARCH_SHARE)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU-seconds of a rung: a step, measuring it whole, and measuring it to choose a rate."""

    step: float
    whole: float
    part: float


def begun(out: Path) -> Plan | None:
    """Return the plan of the climb in a folder, if one was begun there.

    Raises:
        CheckpointError: It is torn or foreign.
    """
    plan = kept(Plan, out / _NAME)
    if plan is not None and (plan.steps < 1 or any(min(one.seconds, default=0) <= 0 for one in plan.times)):
        raise CheckpointError(f"{out / _NAME} is torn: its numbers cannot be")
    return plan


def planned(settings: Settings, ground: Ground, rungs: Sequence[Rung]) -> Plan:
    """Return the plan of this climb: the one begun with these settings, or a new one, which is kept.

    Raises:
        UsageError: Another climb was begun in the folder, or the budget is too small.
    """
    source = ground.corpus.manifest
    plan = begun(ground.out)
    if plan is not None:
        _alike(plan, settings, ground)
        if [one.rung for one in plan.times] != [rung.name for rung in rungs]:
            raise UsageError(f"{ground.out} was begun with other rungs; name another folder")
        return plan
    begin = time.process_time()
    times = timed(rungs, ground, _TIMING * settings.budget)
    if settings.steps is None:
        costs = [_cost(rung, one, ground) for rung, one in zip(rungs, times, strict=True)]
        counted = counting(settings.orders, ground) + _A_RUN * len(settings.orders)
        spent = time.process_time() - begin
        steps = most_steps(settings, costs, counted + spent)
    else:
        steps, spent = settings.steps, time.process_time() - begin
    plan = Plan(settings, source.source.sha256, source.tokenizer, steps, spent, tuple(times))
    keep(ground.out / _NAME, plan)
    return plan


def most_steps(settings: Settings, costs: Sequence[Cost], besides: float) -> int:
    """Return how many steps a full run of every rung may have.

    Args:
        settings: Budget, seeds and rates.
        costs: Of each rung.
        besides: CPU-seconds that are spent on other things.

    Raises:
        UsageError: They would be too few to tell anything.
    """
    tries = 0 if len(settings.rates) == 1 else (len(settings.rates) or TRIED) + _EXPECTED_WIDER
    runs = len(costs) * (settings.seeds + tries)
    measuring = sum(settings.seeds * cost.whole + tries * cost.part for cost in costs)
    fixed = besides + measuring + runs * _A_RUN
    a_step = sum(cost.step for cost in costs) * (settings.seeds + tries / SEARCH_SHARE)
    steps = int((settings.budget * (1 - _RESERVE) - fixed) / a_step)
    if steps < LEAST_STEPS:
        needed = math.ceil((fixed + LEAST_STEPS * a_step) / (1 - _RESERVE))
        needed += -needed % 60 if needed >= 3600 else 0  # in whole minutes, as it is said
        raise UsageError(
            f"a budget of {spoken(settings.budget)} is too small for {runs} runs: with {LEAST_STEPS} steps "
            f"each they need about {spoken(needed)}; give more, or fewer seeds or depths, or a smaller dim"
        )
    return steps


def _cost(rung: Rung, one: Timed, ground: Ground) -> Cost:
    token = reading(rung, ground)
    return Cost(one.step, token * len(ground.held), token * len(ground.tuned))


def _alike(plan: Plan, settings: Settings, ground: Ground) -> None:
    """Refuse to go on with another climb than was begun."""
    for field in fields(Settings):
        was, now = getattr(plan.settings, field.name), getattr(settings, field.name)
        if was != now:
            raise UsageError(
                f"{ground.out} was begun with {field.name} {_said(was)}, not {_said(now)}; "
                "go on with the same, or name another folder"
            )
    source = ground.corpus.manifest
    if (plan.text, plan.tokenizer) != (source.source.sha256, source.tokenizer):
        raise UsageError(f"{ground.out} was begun on another text; name another folder")


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" for one in value) or "none"
    return "none" if value is None else str(value)
