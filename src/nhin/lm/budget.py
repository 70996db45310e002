"""Budgets: how many steps a run may take, said in steps, in tokens or in CPU-seconds; the schedule is fitted.

A budget of CPU-seconds is for the steps themselves, on all threads of a process: some steps are timed first,
on a model that is thrown away, and what that cost is counted in. The number of steps is then fixed and stands
in the run's recipe, so a resumed run ends where one never stopped does.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import distributed, nn

from nhin.data.text.token_dataset import Corpus
from nhin.errors import UsageError
from nhin.lm.recipe import LMRecipe
from nhin.lm.train import Writing
from nhin.training.loop import How, Pace
from nhin.training.loop import train as steps
from nhin.training.precision import chosen, computing
from nhin.training.schedule import Schedule
from nhin.training.together import together

_TIMED_STEPS, _WARMUP_STEPS, _SCHEDULE_STEPS = 10, 3, 20
_MAX_BUDGET = 10**12


@dataclass(frozen=True, slots=True)
class TrainBudget:
    """At most one of them is given."""

    steps: int | None = None
    tokens: int | None = None
    cpu_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse several, and what is not positive."""
        given = {name: getattr(self, name) for name in ("steps", "tokens", "cpu_seconds")}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1:
            raise UsageError(f"give one budget, not {len(given)}: {', '.join(given)}")
        for name, value in given.items():
            if not 0 < value <= _MAX_BUDGET:
                raise UsageError(f"the budget of {name.replace('_', '-')} is {value}; give more than 0")

    @property
    def is_given(self) -> bool:
        """Whether there is one."""
        return any(value is not None for value in (self.steps, self.tokens, self.cpu_seconds))


def fit_to_budget(recipe: LMRecipe, corpus: Corpus, budget: TrainBudget) -> LMRecipe:
    """Return a recipe whose schedule fits a budget.

    Raises:
        UsageError: The budget is less than one step.
    """
    if budget.steps is not None:
        return scale_schedule(recipe, budget.steps)
    if budget.tokens is not None:
        a_step = recipe.data.batch * Writing(recipe, corpus).windows.length
        if budget.tokens < a_step:
            raise UsageError(f"a budget of {budget.tokens} tokens is less than one step, which is {a_step}")
        return scale_schedule(recipe, budget.tokens // a_step)
    if budget.cpu_seconds is not None:
        spent = time.process_time()
        cost = measure_step_seconds(recipe, corpus)
        left = budget.cpu_seconds - (time.process_time() - spent)
        return scale_schedule(recipe, max(1, int(left / cost)))
    return recipe


def scale_schedule(recipe: LMRecipe, steps: int) -> LMRecipe:
    """Return a recipe of so many steps, its warm-up the same share of them."""
    schedule = recipe.schedule
    warmup = min(steps // 2, round(schedule.warmup * steps / schedule.steps))
    fitting: Schedule = replace(schedule, steps=steps, warmup=warmup)
    return replace(recipe, schedule=fitting, fitted=True)


def measure_step_seconds(recipe: LMRecipe, corpus: Corpus) -> float:
    """Return the CPU-seconds of a step, timed on a model that is thrown away; the same in all processes."""
    with together() as team, computing(team.threads(recipe.training.threads)):
        torch.manual_seed(recipe.seed)
        task = Writing(recipe, corpus)
        progress = task.begin(team)
        pace = Pace(
            Schedule(recipe.schedule.rate, _SCHEDULE_STEPS, 0), dtype=chosen(recipe.training.precision)
        )

        def share(model: nn.Module, losses: Mapping[str, float]) -> Mapping[str, float]:
            return team.mean(model, (), losses)[1]

        with task.batches(progress, team) as stream:
            running = steps(
                progress.model, stream, task.loss, progress.optimizer, pace, How(None, share, task.pieces)
            )
            costs = []
            for _ in range(_TIMED_STEPS + _WARMUP_STEPS):
                begin = time.process_time()
                next(running)
                costs.append(time.process_time() - begin)
        cost = torch.tensor(statistics.median(costs[_WARMUP_STEPS:]))
        if team.world > 1:
            distributed.broadcast(cost, 0)
        return float(cost)
